package docgen

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/RC918/morningai"
)

func code(err error) string {
	if e, ok := errors.AsType[*morningai.TaskError](err); ok {
		return e.Code
	}
	return fmt.Sprint(err)
}

func ask(g *Generator, question string) (Result, error) {
	return g.Answer(context.Background(), question, "", morningai.ID{})
}

func TestIndexFollowsTheFiles(t *testing.T) {
	docs := write(t, map[string]string{"a.md": "# Lamps\n\n## Replacing a bulb\n\nUnscrew the bulb.\n"})
	g := open(t, docs)
	r := answer(t, g, "How do I replace a bulb?")
	if !strings.Contains(r.Document, "Unscrew the bulb.") {
		t.Fatalf("no passage in\n%s", r.Document)
	}
	p := filepath.Join(docs, "a.md")
	info, err := os.Stat(p)
	if err != nil {
		t.Fatal(err)
	}
	// The same size and the same time: only the content tells.
	if err := os.WriteFile(p, []byte("# Lamps\n\n## Replacing a bulb\n\nTwist out a bulb.\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(p, time.Time{}, info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if r := answer(t, g, "How do I replace a bulb?"); !strings.Contains(r.Document, "Twist out a bulb.") {
		t.Errorf("the change was missed:\n%s", r.Document)
	}
	if err := os.WriteFile(filepath.Join(docs, "b.md"), []byte("# Candles\n\n## Lighting a candle\n\nUse a match.\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	answer(t, g, "How do I light a candle?")
	if err := os.Remove(p); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(g, "How do I replace a bulb?"); code(err) != CodeNoRelevantDocuments {
		t.Errorf("after the file is gone: %v", err)
	}
	if err := os.Remove(filepath.Join(docs, "b.md")); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(g, "How do I light a candle?"); code(err) != CodeNoDocuments {
		t.Errorf("an empty folder: %v", err)
	}
}

func TestIndexIsBuiltAnew(t *testing.T) {
	docs := write(t, map[string]string{"a.md": "# Lamps\n\n## Replacing a bulb\n\nUnscrew the bulb.\n"})
	for name, spoil := range map[string]func(t *testing.T, path string){
		"garbage": func(t *testing.T, path string) { overwrite(t, path, 0, strings.Repeat("garbage ", 4096)) },
		"torn":    func(t *testing.T, path string) { overwrite(t, path, 4096, strings.Repeat("garbage ", 8192)) },
		"empty":   func(t *testing.T, path string) { truncate(t, path) },
		"another analyser": func(t *testing.T, path string) {
			exec(t, path, "UPDATE meta SET value = 'schema 1 analyser 0'", "DELETE FROM sections", "INSERT INTO words (words) VALUES ('delete-all')")
		},
		"other tables": func(t *testing.T, path string) {
			exec(t, path, "DROP TABLE meta", "DROP TABLE files", "CREATE TABLE meta (x)")
		},
		"lost words": func(t *testing.T, path string) { exec(t, path, "DELETE FROM words_data") },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "index.db")
			g, err := Open(context.Background(), Options{Docs: docs, Index: path, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			answer(t, g, "How do I replace a bulb?")
			if err := g.Close(); err != nil {
				t.Fatal(err)
			}
			spoil(t, path)
			answer(t, openAt(t, docs, path), "How do I replace a bulb?")
		})
	}
}

func overwrite(t *testing.T, path string, at int64, with string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte(with), at); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, path string) {
	t.Helper()
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
}

func exec(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil && !strings.Contains(s, "delete-all") {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// Several generators on one index stand for several processes: they share
// nothing but the file.
func TestIndexIsShared(t *testing.T) {
	files := map[string]string{}
	for i := range 300 {
		files[fmt.Sprintf("d%d/f%d.md", i%7, i)] = fmt.Sprintf("# Part %d\n\n## Fitting part%d\n\nTurn part%d by %d degrees.\n", i, i, i, i)
	}
	docs := write(t, files)
	index := filepath.Join(t.TempDir(), "index.db")
	var wg sync.WaitGroup
	for i := range 4 {
		g := openAt(t, docs, index)
		wg.Go(func() {
			for j := range 3 {
				n := i*70 + j*7
				r, err := ask(g, fmt.Sprintf("How do I fit part%d?", n))
				if err != nil {
					t.Error(err)
				} else if !strings.Contains(r.Document, fmt.Sprintf("Turn part%d by %d degrees.", n, n)) {
					t.Errorf("not the answer on part %d:\n%s", n, r.Document)
				}
			}
		})
	}
	wg.Wait()
	g := openAt(t, docs, index)
	answer(t, g, "How do I fit part1?")
	if n, err := g.index.sectionCount(context.Background()); err != nil || n != 300 {
		t.Errorf("%d sections, %v", n, err)
	}
}

func TestSharedWordsAreNoAnswer(t *testing.T) {
	g := open(t, write(t, map[string]string{
		"lamp.md": "# Lamps\n\n## Replacing a bulb\n\nSwitch the power off and unscrew the bulb.\n\n## Cleaning\n\nWipe the glass with a dry cloth.\n",
		"灯.md":    "# 台灯\n\n## 更换灯泡\n\n先关闭电源，再拧下灯泡。\n",
	}))
	for _, q := range []string{"How do I replace a kitchen sink?", "Which power station burns coal?", "How do I clean a carpet?", "如何关闭微信账号？", "电源适配器去哪里维修"} {
		if r, err := ask(g, q); code(err) != CodeNoRelevantDocuments {
			t.Errorf("%q: %v\n%s", q, err, r.Document)
		}
	}
	for _, q := range []string{"How do I replace the bulb?", "how to clean the GLASS", "怎么更换灯泡？"} {
		answer(t, g, q)
	}
}

// Among few sections a refusal hangs on single words.
func TestSmallDocumentsAnswer(t *testing.T) {
	g := open(t, write(t, map[string]string{
		"boiler.md": "# Boiler\n\n## Heat\n\nIf the boiler overheats, switch it off for an hour.\n\n## Water\n\nFill the tank twice a day.\n",
		"garten.md": "# Gartenordnung\n\n## Kompost\n\nAuf den Kompost gehören Laub und Gras.\n\n## Rasen\n\nGemäht wird nur an Werktagen.\n",
		"员工.md":     "# 员工手册\n\n## 年假\n\n每年十五天，可以顺延。\n\n## 报销\n\n两周内提交发票。\n",
		"網.md":      "# 手引き\n\n## VPN接続\n\n社員番号を入力します。\n\n## 印刷\n\n三階にあります。\n",
	}))
	for q, want := range map[string]string{
		"overheating":                     "for an hour",
		"Was gehört auf den Kompost?":     "Laub",
		"Was kostet die Miete im Winter?": "",
		"年假有几天？":                          "十五天",
		"食堂几点开门？":                         "",
		"家からVPNに繋ぐ方法は？":                   "社員番号",
		"会議室を予約する方法は？":                    "",
	} {
		r, err := ask(g, q)
		switch {
		case want == "" && code(err) != CodeNoRelevantDocuments:
			t.Errorf("%q: %v\n%s", q, err, r.Document)
		case want != "" && (err != nil || !strings.Contains(r.Document, want)):
			t.Errorf("%q: %v\n%s", q, err, r.Document)
		}
	}
}

func TestQuestionsThatCannotBeRead(t *testing.T) {
	g := open(t, write(t, map[string]string{"a.md": "# A\n\nsome words here\n"}))
	for name, q := range map[string]string{"empty": "", "blank": " \n\t", "long": strings.Repeat("long ", 300), "invalid": "a\xffb", "NUL": "a\x00b"} {
		if _, err := ask(g, q); code(err) != morningai.ErrorCodePayload {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := g.Answer(context.Background(), "some words", "not a repo", morningai.ID{}); code(err) != morningai.ErrorCodePayload {
		t.Errorf("repo: %v", err)
	}
	for _, q := range []string{"?", "AND OR NOT", "\"", "*", "a-b C++ (x) NEAR/2", "what's up", "的了吗", "是什么", "🙂🙂"} {
		if _, err := ask(g, q); code(err) != CodeNoRelevantDocuments {
			t.Errorf("%q: %v", q, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := g.Answer(ctx, "some words", "", morningai.ID{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// BenchmarkSecondQuestion asks 5,000 files of about 6 kB, in which common words
// are in most sections and rare ones in few.
func BenchmarkSecondQuestion(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(random, 1.1, 4, 20000)
	word := func() string { return fmt.Sprintf("w%xq", zipf.Uint64()*2654435761%1048573) }
	files := map[string]string{}
	for i := range 5000 {
		var s strings.Builder
		fmt.Fprintf(&s, "# Component %d\n\n", i)
		for range 6 {
			fmt.Fprintf(&s, "## The %s of the %s\n\n", word(), word())
			for range 150 {
				s.WriteString(word() + " ")
			}
			s.WriteString("\n\n")
		}
		files[fmt.Sprintf("d%d/f%d.md", i%50, i)] = s.String()
	}
	g := open(b, write(b, files))
	began := time.Now()
	answer(b, g, "What is component 42?")
	first := time.Since(began)
	for b.Loop() {
		n := random.IntN(5000)
		if _, err := ask(g, fmt.Sprintf("How does component %d %s the %s of %s?", n, word(), word(), word())); err != nil && code(err) != CodeNoRelevantDocuments {
			b.Fatal(err)
		}
	}
	b.ReportMetric(first.Seconds(), "s/first")
}
