package docgen

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestAnalyse(t *testing.T) {
	for _, c := range []struct {
		lang       language
		text, want string
	}{
		{"en", "Handling Redis outages", "handl redi outag"},
		{"en", "storage_full", "storage_full storag full"},
		{"en", "--no-journal", "no_journal nojourn no journal"},
		{"en", "maxAttempts a.b-c", "maxattempts max attempt a_b_c a b c"},
		{"en", "back up the C++ and C# logs.", "back up backup the cpp and csharp log"},
		{"en", "organise colours", "organ color"},
		{"en", "配置redis的队列", "配置 redi 的队 队列"},
		{"en", "ＡＢＣ ﾊﾞｯｸｱｯﾌﾟ", "abc バックアップ バッ ック クア アッ ップ"},
		{"en", "サーバーが止まる", "サーバ サー ーバ バー ーが が止 止ま まる"},
		{"en", "레디스가 큐를", "레디 디스 스가 큐 큐를"},
		{"de", "Überwachung der Wiederherstellung wiederherstellen", "uberwach der wiederherstell wiederherstell"},
		{"fr", "les données sauvegardées", "le don sauvegard"},
		{"ru", "очереди задач", "очеред задач"},
		{"en", "ระบบคิว", "ระบ ะบบ บบค บคิ คิว"},
	} {
		if got := newAnalyser().terms(c.text, c.lang); got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
}

func TestLanguageOf(t *testing.T) {
	for text, want := range map[string]language{
		"How do I pause a queue?": "en", "Wie kann ich die Warteschlange anhalten?": "de", "Comment mettre une file en pause ?": "fr",
		"¿Cómo puedo pausar la cola?": "es", "Как приостановить очередь, если она не нужна?": "ru", "Redis MISCONF": "en", "队列怎么暂停": "en",
	} {
		if got := languageOf(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestSlug(t *testing.T) {
	for q, want := range map[string]string{
		"How do I handle a Redis outage?": "how-do-i-handle-a-redis-outage", "  What's   new? ": "whats-new", "con": "con-7b6b0b66ed",
		"../../etc/passwd": "etc-passwd", "Ça marche déjà ?": "ca-marche-deja",
	} {
		got := slug(q)
		if strings.HasPrefix(want, "con-") {
			if !strings.HasPrefix(got, "con-") {
				t.Errorf("%q: %q", q, got)
			}
			continue
		}
		if got != want {
			t.Errorf("%q: %q, want %q", q, got, want)
		}
	}
	seen := map[string]string{}
	for _, q := range []string{"如何备份数据库？", "如何恢复数据库？", "Redis 断开怎么办", "Redis 恢复怎么办", "C++?", "C?", strings.Repeat("long words ", 40) + "a", strings.Repeat("long words ", 40) + "b", "🙂", "?!"} {
		s := slug(q)
		if s == "" || len(s) > maxSlug+12 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" || strings.HasPrefix(s, "-") || s != slug(q) {
			t.Errorf("%q: %q", q, s)
		}
		if other, taken := seen[s]; taken {
			t.Errorf("%q and %q are both %q", q, other, s)
		}
		seen[s] = q
	}
}

func FuzzAnalyse(f *testing.F) {
	for _, s := range []string{"", "How do I pause a queue?", "a_b.c-d C++ --x", "サーバーが止まる", "레디스가", "配置redis", "\xff\x00", "__", "e\u0301 \u200d ﷺ"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a := newAnalyser()
		for _, lang := range []language{"en", "de", "fr", "ru", "it"} {
			last := 0
			for _, tok := range a.analyse(text, lang) {
				if tok.term == "" || strings.ContainsAny(tok.term, " \"\x00\n") || !utf8.ValidString(tok.term) {
					t.Fatalf("%q gives the term %q", text, tok.term)
				}
				last = max(last, tok.pos)
			}
			if last > 2*len(text)+2 {
				t.Fatalf("position %d in %d bytes", last, len(text))
			}
		}
	})
}

func FuzzSplit(f *testing.F) {
	for _, s := range []string{"", "# A\n\ntext\n\n## B ##\n```\n# no\n", "---\ntitle: T\n---\nA\n===\nb\n---\n", "<!-- # x\n", "\r\n# a\r\n", "~~~\n```\n~~~\nx\n", "> ```\n# x\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		doc := split("x/y.mdx", text)
		if doc.title == "" {
			t.Fatal("no title")
		}
		for i, s := range doc.sections {
			if s.position != i || strings.TrimSpace(s.body) == "" || s.level < 0 || s.level > 6 {
				t.Fatalf("section %+v", s)
			}
			var fence fence
			for line := range strings.SplitSeq(s.body, "\n") {
				fence.line(line)
			}
			if fence.open() {
				t.Fatalf("an open fence in %q", s.body)
			}
		}
	})
}

// Whatever the question is, FTS5 must take what is made of it.
func FuzzQuestion(f *testing.F) {
	docs := write(f, map[string]string{"a.md": "# A b c\n\nx AND y OR z NEAR \"q\" redis:outage 配置 サーバー 레디스 C++ a_b\n"})
	folder, err := openFolder(docs)
	if err != nil {
		f.Fatal(err)
	}
	ctx := context.Background()
	x, err := openIndex(ctx, filepath.Join(f.TempDir(), "i.db"), docs)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := x.close(); err != nil {
			f.Error(err)
		}
		if err := folder.close(); err != nil {
			f.Error(err)
		}
	})
	if _, err := x.refresh(ctx, folder, nil); err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"what's a-b C++ ( AND redis:outage", "\"", "配置サーバー", "NEAR(a b, 2)", "a* ^b {c}: -d", "x\x00y", "é ñ ß ı ẞ ŉ"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, question string) {
		if _, err := x.search(ctx, strings.Fields(question), 5); err != nil && utf8.ValidString(question) {
			t.Fatal(err)
		}
		q, err := x.ask(ctx, question)
		if err != nil {
			t.Fatal(err)
		}
		found, err := x.find(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range found {
			if p.coverage < 0 || p.coverage > 1.000001 || p.score != p.score {
				t.Fatalf("coverage %v, score %v", p.coverage, p.score)
			}
		}
		answerable(found, q)
	})
}
