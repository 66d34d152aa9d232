package redistest

import "github.com/RC918/morningai/internal/redisproc"

// Conn is one connection, for those who need to keep it.
type Conn struct {
	*redisproc.Conn
	s *Server
}

// Connect makes a connection, which the caller closes.
func (s *Server) Connect() *Conn {
	s.tb.Helper()
	c, err := s.Server.Connect()
	s.must(err)
	return &Conn{c, s}
}

// Do is the method of Server on this connection.
func (c *Conn) Do(args ...string) string {
	c.s.tb.Helper()
	reply, err := c.Conn.Do(args...)
	if err != nil {
		c.s.tb.Fatalf("%s: %v", args[0], err)
	}
	return reply
}
