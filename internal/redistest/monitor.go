package redistest

import (
	"fmt"
	"strings"
)

// Monitor hands every command that the server executes to f, those inside of
// scripts too (from "lua"), until the returned function is called; that waits
// until f has seen what was executed before. One server, one monitor at a time.
func (s *Server) Monitor(f func(from string, words []string)) (stop func()) {
	s.tb.Helper()
	conn := s.Connect()
	conn.Do("MONITOR")
	const last = "the monitor has seen all"
	done := make(chan error, 1)
	go func() { // ends with the connection, which stop closes
		done <- conn.Lines(func(line string) bool {
			from, words := monitored(line)
			if len(words) == 2 && words[1] == last {
				return false
			}
			f(from, words)
			return true
		})
	}()
	return func() {
		s.tb.Helper()
		s.Do("ECHO", last)
		if err := <-done; err != nil {
			s.tb.Fatalf("monitor: %v", err)
		}
		_ = conn.Close()
	}
}

// monitored takes apart a line such as +1700000000.1 [0 lua] "GET" "a\"b".
func monitored(line string) (from string, words []string) {
	_, line, _ = strings.Cut(line, "[")
	from, line, _ = strings.Cut(line, "] ")
	_, from, _ = strings.Cut(from, " ")
	var b strings.Builder
	in := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case !in:
			in = c == '"'
		case c == '"':
			words, in = append(words, b.String()), false
			b.Reset()
		case c == '\\' && i+1 < len(line):
			i++
			switch line[i] {
			case 'x':
				var n byte
				if _, err := fmt.Sscanf(line[i+1:i+3], "%02x", &n); err == nil {
					b.WriteByte(n)
				}
				i += 2
			case 'n':
				b.WriteByte('\n')
			case 'r':
				b.WriteByte('\r')
			case 't':
				b.WriteByte('\t')
			case 'a':
				b.WriteByte('\a')
			case 'b':
				b.WriteByte('\b')
			default:
				b.WriteByte(line[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return from, words
}
