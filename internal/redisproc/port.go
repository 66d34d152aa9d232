package redisproc

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

var (
	portsMu sync.Mutex
	ports   = map[int]bool{} // handed out in this process, whether used yet or not
)

// FreePort is a port that nobody has. It and the one 10000 above, which a
// Cluster node uses too, lie below those that the system gives to connections.
func FreePort() (int, error) {
	const lowest, span = 10_000, 10_000
	portsMu.Lock()
	defer portsMu.Unlock()
	for range 1000 {
		port := lowest + rand.IntN(span)
		if ports[port] {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue // somebody has it
		}
		_ = l.Close()
		ports[port] = true
		return port, nil
	}
	return 0, errors.New("no free port from 10000 to 19999")
}
