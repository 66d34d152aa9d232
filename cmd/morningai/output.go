package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"charm.land/lipgloss/v2"

	"github.com/RC918/morningai"
)

var (
	faint = lipgloss.NewStyle().Faint(true)
	good  = lipgloss.NewStyle().Foreground(lipgloss.Green)
	bad   = lipgloss.NewStyle().Foreground(lipgloss.Red)
	busy  = lipgloss.NewStyle().Foreground(lipgloss.Cyan)
	warn  = lipgloss.NewStyle().Foreground(lipgloss.Yellow)
)

// show prints styled text; lipgloss leaves the colours out where w is not a
// terminal, or NO_COLOR asks for it.
func show(w io.Writer, text string) error {
	_, err := lipgloss.Fprint(w, text)
	return err
}

// table lays rows out in columns that are as wide as their widest cell. The
// first row is the heading.
func table(rows [][]string) string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], lipgloss.Width(cell))
		}
	}
	var b strings.Builder
	for r, row := range rows {
		for i, cell := range row {
			pad := widths[i] - lipgloss.Width(cell) + 2
			if r == 0 {
				cell = faint.Render(cell)
			}
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", pad))
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

// fields lays out names and values, leaving out those without a value.
func fields(pairs ...[2]string) string {
	width := 0
	for _, p := range pairs {
		if p[1] != "" {
			width = max(width, lipgloss.Width(p[0]))
		}
	}
	var b strings.Builder
	for _, p := range pairs {
		if p[1] != "" {
			pad := strings.Repeat(" ", width-lipgloss.Width(p[0])+2)
			fmt.Fprintf(&b, "%s%s%s\n", faint.Render(p[0]), pad, p[1])
		}
	}
	return b.String()
}

// coloured is the name of the state in its colour.
func coloured(t *morningai.Task) string {
	switch {
	case t.State == morningai.StateSucceeded:
		return good.Render("succeeded")
	case t.State == morningai.StateFailed:
		return bad.Render("failed")
	case t.State == morningai.StateCanceled:
		return faint.Render("canceled")
	case t.State == morningai.StateRunning:
		return busy.Render("running")
	case t.State == morningai.StateScheduled && t.Failures > 0:
		return warn.Render("retrying")
	}
	return string(t.State)
}

// printable replaces control characters, so that what a handler or a payload
// says cannot steer the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// short cuts what is too long to read; --json shows all of it.
func short(raw []byte) string {
	const most = 1000
	s := printable(string(raw))
	if runes := []rune(s); len(runes) > most {
		return fmt.Sprintf("%s… (%d bytes; --json shows all)", string(runes[:most]), len(raw))
	}
	return s
}

// moment is a time with how long ago it was, or how far away it is.
func moment(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	if d := t.Sub(now); d > 0 {
		return fmt.Sprintf("%s (in %s)", t.UTC().Format(time.RFC3339), age(d))
	}
	return fmt.Sprintf("%s (%s ago)", t.UTC().Format(time.RFC3339), age(now.Sub(t)))
}

// age is a duration in its one or two largest units.
func age(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < day:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd%02dh", d/day, d%day/time.Hour)
}

// printJSON prints a body as it came, on a line of its own.
func printJSON(w io.Writer, body []byte) error {
	_, err := fmt.Fprintf(w, "%s\n", strings.TrimSuffix(string(body), "\n"))
	return err
}

// printValue prints a value as JSON, on a line of its own.
func printValue(s streams, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return printJSON(s.out, body)
}
