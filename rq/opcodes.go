package rq

import (
	"bytes"
	"encoding/binary"
	"strconv"
)

// walk looks at a pickle before it is read. whole: each argument is there, up to
// the last operation; the reader would make room for what is only announced.
// repeats: it refers to a list that it has built before; the reader would return
// what that list was at first, which is empty. The operations and the sizes of
// their arguments are those of Python's pickletools.
func walk(raw []byte) (whole, repeats bool) {
	lists := map[uint64]bool{} // places of the memo that hold lists
	count := uint64(0)         // places taken by MEMOIZE
	last := byte(0)            // operation before this one
	isList := func() bool { return last == ']' || last == 'l' }
	for len(raw) > 0 {
		op := raw[0]
		argument, rest, ok := argumentOf(op, raw[1:])
		if !ok {
			return false, false
		}
		switch op {
		case 'q', 'r': // BINPUT, LONG_BINPUT
			lists[little(argument)] = isList()
		case 'p': // PUT
			lists[lineNumber(argument)] = isList()
		case 0x94: // MEMOIZE
			lists[count] = isList()
			count++
		case 'h', 'j': // BINGET, LONG_BINGET
			if lists[little(argument)] {
				return true, true
			}
		case 'g': // GET
			if lists[lineNumber(argument)] {
				return true, true
			}
		case '.': // STOP
			return true, false
		}
		raw = rest
		if op != 0x95 { // a frame may begin anywhere
			last = op
		}
	}
	return false, false
}

// argumentOf splits off the argument of an operation.
func argumentOf(op byte, raw []byte) (argument, rest []byte, ok bool) {
	fixed, prefix, lines := 0, 0, 0
	switch op {
	case 0x80, 'K', 'h', 'q', 0x82:
		fixed = 1
	case 'M', 0x83:
		fixed = 2
	case 'J', 'j', 'r', 0x84:
		fixed = 4
	case 'G', 0x95:
		fixed = 8
	case 0x8a, 0x8c, 'C', 'U':
		prefix = 1
	case 0x8b, 'X', 'B', 'T':
		prefix = 4
	case 0x8d, 0x8e, 0x96:
		prefix = 8
	case 'I', 'L', 'F', 'S', 'V', 'g', 'p', 'P':
		lines = 1
	case 'i', 'c':
		lines = 2
	}
	if prefix > 0 {
		if len(raw) < prefix {
			return nil, nil, false
		}
		n := little(raw[:prefix])
		if raw = raw[prefix:]; n > uint64(len(raw)) {
			return nil, nil, false
		}
		return raw[:n], raw[n:], true
	}
	rest = raw
	for range lines {
		_, after, found := bytes.Cut(rest, []byte("\n"))
		if !found {
			return nil, nil, false
		}
		rest = after
	}
	if lines > 0 {
		return raw[:len(raw)-len(rest)], rest, true
	}
	if len(raw) < fixed {
		return nil, nil, false
	}
	return raw[:fixed], raw[fixed:], true
}

func little(b []byte) uint64 {
	var full [8]byte
	copy(full[:], b)
	return binary.LittleEndian.Uint64(full[:])
}

func lineNumber(line []byte) uint64 {
	n, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 10, 64)
	if err != nil {
		return 1 << 63 // no place of a memo
	}
	return n
}
