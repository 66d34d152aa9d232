package redistest

import (
	"bufio"
	"net"
	"time"
)

// Conn is one connection, for those who need to keep it.
type Conn struct {
	s    *Server
	conn net.Conn
	r    *bufio.Reader
}

// Connect makes a connection, which the caller closes.
func (s *Server) Connect() *Conn {
	s.tb.Helper()
	conn, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		s.tb.Fatal(err)
	}
	return &Conn{s, conn, bufio.NewReader(conn)}
}

// Do is the method of Server on this connection.
func (c *Conn) Do(args ...string) string {
	c.s.tb.Helper()
	_ = c.conn.SetDeadline(time.Now().Add(patience))
	reply, err := exchange(c.conn, c.r, args)
	if err != nil {
		c.s.tb.Fatalf("%s: %v", args[0], err)
	}
	return reply
}

// Close ends the connection.
func (c *Conn) Close() { _ = c.conn.Close() }
