//go:build !linux

package connmqtt

import "net"

// promptly is for Linux.
func promptly(conn net.Conn) net.Conn { return conn }
