package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/RC918/morningai/docgen"
)

// What is promised: of the passages that answer a question, this share is among
// the first five; no more than these shares of refused questions that have an
// answer, and of answered ones that have none.
const (
	minRecall        = 0.9
	maxWrongRefusals = 0.1
	maxOffTopic      = 0.05
)

// set is one folder of documents and what is asked of it.
type set struct {
	Folder    string     `json:"folder"`
	Questions []question `json:"questions"`
	Off       []string   `json:"off"` // questions that nothing in the folder answers
}

type question struct {
	Ask string   `json:"ask"`
	In  []string `json:"in"`  // "file.md#Heading" of the passages that answer it
	Any bool     `json:"any"` // each of them answers it alone
}

// tally is what a set has come to.
type tally struct {
	questions, first, refused int
	recall                    float64
	off, answered             int
}

func (t *tally) add(o tally) {
	t.questions += o.questions
	t.first += o.first
	t.refused += o.refused
	t.recall += o.recall
	t.off += o.off
	t.answered += o.answered
}

func (t tally) good() bool {
	return t.recall >= minRecall*float64(t.questions) && float64(t.refused) <= maxWrongRefusals*float64(t.questions) &&
		float64(t.answered) <= maxOffTopic*float64(t.off)
}

// yardsticks are the files of questions. For those called held out no figure was
// tuned; those called few are of three to six sections a set.
var yardsticks = []string{"questions", "heldout", "few", "few-heldout", "few-languages"}

// measure runs the yardsticks of the given names, and reports whether the totals
// of each are as promised.
func measure(ctx context.Context, dir string, names []string, data string, out io.Writer) (bool, error) {
	ok := true
	for _, file := range names {
		good, err := measureFile(ctx, dir, file+".json", data, out)
		if err != nil {
			return false, fmt.Errorf("%s: %w", file, err)
		}
		ok = ok && good
	}
	fmt.Fprintf(out, "promised: recall@5 >= %.2f, wrong refusals <= %.2f, off-topic answers <= %.2f\n", minRecall, maxWrongRefusals, maxOffTopic)
	return ok, nil
}

func measureFile(ctx context.Context, dir, file, data string, out io.Writer) (bool, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "testdata", file))
	if err != nil {
		return false, err
	}
	var sets map[string]set
	if err := json.Unmarshal(raw, &sets); err != nil {
		return false, err
	}
	fmt.Fprintf(out, "%-16s %9s %9s %9s %14s %14s\n", strings.TrimSuffix(file, ".json"), "questions", "recall@5", "first", "wrong refusals", "off-topic")
	var total tally
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		t, err := measureSet(ctx, sets[name], filepath.Join(dir, filepath.FromSlash(sets[name].Folder)), data, out)
		if err != nil {
			return false, fmt.Errorf("%s: %w", name, err)
		}
		t.print(out, name)
		total.add(t)
	}
	total.print(out, "all")
	fmt.Fprintln(out)
	return total.good(), nil
}

func (t tally) print(out io.Writer, name string) {
	n := float64(max(1, t.questions))
	fmt.Fprintf(out, "%-16s %9d %9.2f %9.2f %8d of %2d %8d of %2d\n", name, t.questions, t.recall/n, float64(t.first)/n, t.refused, t.questions, t.answered, t.off)
}

func measureSet(ctx context.Context, s set, folder, data string, out io.Writer) (t tally, err error) {
	g, err := docgen.Open(ctx, docgen.Options{Docs: folder, Index: docgen.IndexPath(data, folder), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	for _, q := range s.Questions {
		hits, about, err := g.Search(ctx, q.Ask, 5)
		if err != nil {
			return t, err
		}
		t.questions++
		found := 0
		for i, h := range hits {
			if slices.ContainsFunc(q.In, func(want string) bool { return strings.HasSuffix("/"+h.Path+"#"+h.Heading, "/"+want) }) {
				found++
				if i == 0 {
					t.first++
				}
			}
		}
		switch {
		case q.Any && found > 0:
			t.recall++
		default:
			t.recall += float64(min(found, len(q.In))) / float64(len(q.In))
		}
		if found == 0 {
			fmt.Fprintf(out, "  not found: %s\n", q.Ask)
			for _, h := range hits {
				fmt.Fprintf(out, "    %s#%s %.2f\n", h.Path, h.Heading, h.Score)
			}
		}
		if !about {
			t.refused++
			fmt.Fprintf(out, "  refused: %s\n", q.Ask)
			if len(hits) > 0 {
				fmt.Fprintf(out, "    %s#%s covers %.2f\n", hits[0].Path, hits[0].Heading, hits[0].Coverage)
			}
		}
	}
	for _, ask := range s.Off {
		hits, about, err := g.Search(ctx, ask, 1)
		if err != nil {
			return t, err
		}
		t.off++
		if about {
			t.answered++
			fmt.Fprintf(out, "  answered: %s\n    %s#%s covers %.2f\n", ask, hits[0].Path, hits[0].Heading, hits[0].Coverage)
		}
	}
	return t, nil
}
