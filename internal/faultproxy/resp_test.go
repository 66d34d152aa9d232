package faultproxy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// cut feeds a text in pieces of any size.
func cut(rt *rapid.T, text string, feed func(string)) {
	for text != "" {
		n := rapid.IntRange(1, len(text)).Draw(rt, "piece")
		feed(text[:n])
		text = text[n:]
	}
}

func TestCommandsAreFoundHoweverTheyAreCut(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		words := rapid.SliceOfN(rapid.SliceOfN(rapid.SampledFrom([]string{"", "GET", "*3\r\n", "a\r\n$1\r\n", "\x00"}), 1, 4), 1, 6).Draw(rt, "commands")
		var want []string
		for _, w := range words {
			one := fmt.Sprintf("*%d\r\n", len(w))
			for _, s := range w {
				one += fmt.Sprintf("$%d\r\n%s\r\n", len(s), s)
			}
			want = append(want, one)
		}
		var s commandScanner
		var got []string
		cut(rt, strings.Join(want, ""), func(piece string) {
			s.feed([]byte(piece), func(n int64, command []byte) {
				if int(n) != len(got) {
					rt.Errorf("command %d has number %d", len(got), n)
				}
				got = append(got, string(command))
			})
		})
		if !slices.Equal(got, want) {
			rt.Errorf("found %q, want %q", got, want)
		}
	})
}

// value makes a reply of any kind and depth.
func value(rt *rapid.T, depth int) string {
	simple := []string{"+OK\r\n", "-ERR no\r\n", ":7\r\n", "$-1\r\n", "*-1\r\n", "$0\r\n\r\n", "$5\r\n+a\r\n\n\r\n", "_\r\n", "#t\r\n", ",1.5\r\n", "(123\r\n",
		"=5\r\ntxt:a\r\n", "!3\r\nERR\r\n", "*0\r\n", "%0\r\n", "~0\r\n"}
	if depth == 0 || rapid.Bool().Draw(rt, "simple") {
		return rapid.SampledFrom(simple).Draw(rt, "value")
	}
	n := rapid.IntRange(1, 3).Draw(rt, "length")
	kind := rapid.SampledFrom([]string{"*", "~", "%", "|"}).Draw(rt, "kind")
	text := fmt.Sprintf("%s%d\r\n", kind, n)
	count := n
	switch kind {
	case "%":
		count = 2 * n
	case "|": // attributes and the value they belong to
		count = 2*n + 1
	}
	for range count {
		text += value(rt, depth-1)
	}
	return text
}

func TestRepliesAreCountedHoweverTheyAreCut(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(rt, "replies")
		victim := rapid.IntRange(0, n-1).Draw(rt, "victim")
		var text, before string
		for i := range n {
			if rapid.Bool().Draw(rt, "pushed") {
				text += fmt.Sprintf(">2\r\n+invalidate\r\n%s", value(rt, 1))
			}
			v := value(rt, 2)
			if i == victim {
				before = text
				// Attributes of the victim have passed when it begins.
				for strings.HasPrefix(v, "|") {
					v = "+OK\r\n"
				}
			}
			text += v
		}
		var s replyScanner
		var got string
		stopped := false
		cut(rt, text, func(piece string) {
			if stopped {
				return
			}
			through := s.feed([]byte(piece), func(number int64) bool { return number == int64(victim) })
			got += piece[:through]
			stopped = through < len(piece)
		})
		if got != before || !stopped {
			rt.Errorf("stopped: %v\nthrough %q\nwant    %q", stopped, got, before)
		}
	})
}
