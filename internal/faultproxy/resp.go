package faultproxy

import (
	"bytes"
	"strconv"
)

// commandScanner finds the commands in a stream of Redis's protocol, however it
// is cut into pieces. A stream that does not begin like one has pieces instead,
// whose number is -1.
type commandScanner struct {
	buf    []byte // of the command that is not complete
	number int64  // of commands seen
	opaque bool
}

// feed calls found for each command that is complete with these bytes; the first
// one has number 0. The command is valid until found returns.
func (s *commandScanner) feed(b []byte, found func(number int64, command []byte)) {
	if s.number == 0 && len(s.buf) == 0 && !s.opaque && len(b) > 0 && b[0] != '*' {
		s.opaque = true
	}
	if s.opaque {
		found(-1, b)
		return
	}
	s.buf = append(s.buf, b...)
	at := 0
	for {
		n := commandLength(s.buf[at:])
		if n == 0 {
			break
		}
		found(s.number, s.buf[at:at+n])
		s.number++
		at += n
	}
	s.buf = append(s.buf[:0], s.buf[at:]...)
}

// commandLength is the length of the command at the beginning of b, 0 if it is
// not complete. Anything that is no array of strings is taken as a line.
func commandLength(b []byte) int {
	line, at := header(b, 0)
	if at == 0 {
		return 0
	}
	if line[0] != '*' {
		return at
	}
	count := number(line)
	for range count {
		line, next := header(b, at)
		if next == 0 {
			return 0
		}
		at = next + number(line) + 2
		if at > len(b) {
			return 0
		}
	}
	return at
}

// header is the line of b that begins at a place, and the place after it; 0 if
// the line is not complete.
func header(b []byte, at int) (line []byte, next int) {
	i := bytes.Index(b[at:], []byte("\r\n"))
	if i <= 0 {
		return nil, 0
	}
	return b[at : at+i], at + i + 2
}

// number reads what follows the type of a header; what is no length has none.
func number(line []byte) int {
	n, err := strconv.Atoi(string(line[1:]))
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// replyScanner counts the replies in a stream of Redis's protocol, versions 2
// and 3, however it is cut into pieces.
type replyScanner struct {
	line   []byte // a header that is not complete
	skip   int    // bytes of a string that are still to come
	nested []int  // elements that are still to come, of each aggregate that is open
	number int64  // of replies begun
}

// feed goes through these bytes. At the beginning of each reply it asks whether
// to stop there; the first one has number 0. Messages that the server pushes are
// no replies. It returns how many bytes come before the stop, or all of them.
func (s *replyScanner) feed(b []byte, stop func(number int64) bool) int {
	for at := 0; at < len(b); {
		if s.skip > 0 {
			n := min(s.skip, len(b)-at)
			s.skip -= n
			at += n
			if s.skip == 0 {
				s.done()
			}
			continue
		}
		if len(s.line) == 0 && len(s.nested) == 0 && b[at] != '>' && b[at] != '|' {
			if stop(s.number) {
				return at
			}
			s.number++
		}
		end := bytes.IndexByte(b[at:], '\n')
		if end < 0 {
			s.line = append(s.line, b[at:]...)
			break
		}
		s.line = append(s.line, b[at:at+end]...)
		at += end + 1
		s.header(bytes.TrimSuffix(s.line, []byte("\r")))
		s.line = s.line[:0]
	}
	return len(b)
}

// header takes the first line of a value.
func (s *replyScanner) header(line []byte) {
	if len(line) == 0 {
		return
	}
	n := number(line)
	null := len(line) > 1 && line[1] == '-'
	switch line[0] {
	case '$', '!', '=':
		if !null {
			s.skip = n + 2
			return
		}
	case '*', '~', '>':
		if n > 0 {
			s.nested = append(s.nested, n)
			return
		}
	case '%':
		if n > 0 {
			s.nested = append(s.nested, 2*n)
			return
		}
	case '|': // comes before the value that it describes, which is still to come
		if n > 0 {
			if len(s.nested) > 0 {
				s.nested[len(s.nested)-1]++
			}
			s.nested = append(s.nested, 2*n)
		}
		return
	}
	s.done()
}

// done counts a whole value for the aggregates that it belongs to.
func (s *replyScanner) done() {
	for len(s.nested) > 0 {
		last := len(s.nested) - 1
		if s.nested[last]--; s.nested[last] > 0 {
			return
		}
		s.nested = s.nested[:last]
	}
}
