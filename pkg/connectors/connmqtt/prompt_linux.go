package connmqtt

import (
	"net"
	"syscall"
)

// A prompt connection confirms to the other side's kernel at once what has come. Brokers such
// as Mosquitto leave small packets to Nagle's algorithm: of the acknowledgements of a batch
// all but the first would wait until our kernel confirms that one, 40 ms later.
type prompt struct {
	net.Conn
	socket syscall.RawConn // nil: none
}

func promptly(conn net.Conn) net.Conn {
	p := prompt{Conn: conn}
	if c, ok := conn.(syscall.Conn); ok {
		p.socket, _ = c.SyscallConn() // without it, it is only slower
	}
	return p
}

func (p prompt) Read(data []byte) (int, error) {
	n, err := p.Conn.Read(data)
	if n > 0 && p.socket != nil {
		_ = p.socket.Control(func(fd uintptr) { // holds for a while only
			_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 1) // without it, it is only slower
		})
	}
	return n, err
}
