//go:build !race

package jq

const raced = false
