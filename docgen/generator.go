package docgen

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/RC918/morningai"
)

// Codes of the errors of Answer, as readers of a failed task see them. They are
// in a [morningai.TaskError].
const (
	// CodeNoRelevantDocuments: there are documents, but not about the question.
	CodeNoRelevantDocuments = "no_relevant_documents"
	// CodeNoDocuments: the folder has no file that can be used as a document.
	CodeNoDocuments = "no_documents"
)

var repoName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}/[A-Za-z0-9_.-]{1,100}$`)

// Options says what a Generator works on.
type Options struct {
	Docs  string // the folder of documents
	Index string // the file of the index; see [IndexPath]
	// Repo is OWNER/NAME of the repository that the documents belong to, for
	// questions that name none; "" takes it from the folder's git remote.
	Repo   string
	Logger *slog.Logger // nil: slog.Default()
	// Drafter writes the text; nil: [Extracts].
	Drafter Drafter
	// Progress is told how many changed files are indexed, when there are many.
	// It may be called from several goroutines.
	Progress func(done, total int)
}

// Generator answers questions from one folder of documents. It may be used by
// several goroutines.
type Generator struct {
	options Options
	folder  *folder
	log     *slog.Logger

	mu       sync.RWMutex // held for reading while an answer uses the index
	index    *index
	refresh  sync.Mutex
	began    time.Time // of the last refresh that succeeded
	build    int       // counts the replacements of the index
	skipped  []Skipped
	reported map[string]bool // skipped files that were logged
}

// Result is an answer, in the form that readers of a faq task see.
type Result struct {
	Document string   `json:"document"` // Markdown
	Path     string   `json:"path"`     // where it is published, from the repository's root
	Model    string   `json:"model"`
	Sources  []string `json:"sources"` // documents it is taken from, from the repository's root
	Tokens   Tokens   `json:"tokens"`
	Commit   string   `json:"commit"` // "" unless published
	PRURL    string   `json:"pr_url"` // "" unless published
}

// Open opens the documents folder and its index. It indexes nothing yet. The
// error is [morningai.ErrNotFound] or [morningai.ErrInvalidInput] if there is no
// such folder, and of a storage code if the index cannot be written.
func Open(ctx context.Context, o Options) (*Generator, error) {
	if o.Repo != "" && !repoName.MatchString(o.Repo) {
		return nil, morningai.InvalidInput("open documents", morningai.FieldError{Location: "repo", Message: repoRule})
	}
	f, err := openFolder(o.Docs)
	if err != nil {
		return nil, err
	}
	x, err := openIndex(ctx, o.Index, f.dir)
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	if o.Repo == "" {
		o.Repo = Repository(f.dir)
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Drafter == nil {
		o.Drafter = Extracts{}
	}
	return &Generator{options: o, folder: f, index: x, log: o.Logger, reported: map[string]bool{}}, nil
}

// Close releases the index and the folder. It waits for answers under way.
func (g *Generator) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return errors.Join(g.index.close(), g.folder.close())
}

// Docs is the documents folder, absolute and without links.
func (g *Generator) Docs() string { return g.folder.dir }

// Skipped lists the files that looked like documents at the last answer and
// could not be used.
func (g *Generator) Skipped() []Skipped {
	g.refresh.Lock()
	defer g.refresh.Unlock()
	return append([]Skipped(nil), g.skipped...)
}

const (
	questionRule = "must be a question of 1 to 1000 characters in UTF-8 without NUL"
	repoRule     = "must be OWNER/NAME"
)

// Answer composes a document on the question. repo may be "" for the default.
// The same documents and arguments give the same result. The error is a
// *[morningai.TaskError] if trying again cannot help: the question cannot be
// read ([morningai.ErrorCodePayload]), there are no documents, or none is about
// the question.
func (g *Generator) Answer(ctx context.Context, question, repo string, trace morningai.ID) (Result, error) {
	return g.answer(ctx, question, repo, trace, g.options.Progress)
}

func (g *Generator) answer(ctx context.Context, question, repo string, trace morningai.ID, progress func(done, total int)) (Result, error) {
	if err := checkQuestion(question, repo); err != nil {
		return Result{}, err
	}
	if repo == "" {
		repo = g.options.Repo
	}
	var m Material
	var sources []string
	err := g.consult(ctx, question, progress, func(q *query, found []passage) (err error) {
		if !answerable(found, q) {
			return &morningai.TaskError{Code: CodeNoRelevantDocuments,
				Message: "the documents are not about the question; ask with the words that they use, or name other documents with --docs"}
		}
		m, sources, err = newComposer(g.folder, g.index, q).material(ctx, question, found)
		return err
	})
	if err != nil {
		return Result{}, err
	}
	draft, err := g.options.Drafter.Draft(ctx, m)
	if err != nil {
		return Result{}, fmt.Errorf("draft an answer: %w", err)
	}
	return Result{
		Document: assemble(question, repo, trace.String(), draft),
		Path:     faqDir + "/" + slug(question) + ".md",
		Model:    draft.Model, Sources: sources, Tokens: draft.Tokens,
	}, nil
}

func checkQuestion(question, repo string) error {
	bad := func(what string) error {
		return &morningai.TaskError{Code: morningai.ErrorCodePayload, Message: what}
	}
	switch {
	case !utf8.ValidString(question) || strings.ContainsRune(question, 0) || strings.TrimSpace(question) == "" || oneLine(question) == "":
		return bad("question " + questionRule)
	case utf8.RuneCountInString(question) > maxQuestionLen:
		return bad("question " + questionRule)
	case repo != "" && !repoName.MatchString(repo):
		return bad("repo " + repoRule)
	}
	return nil
}

// Hit is a section that was found for a question.
type Hit struct {
	Path     string // of the file, from the repository's root
	Heading  string // "" before the first heading
	Anchor   string
	Score    float64 // comparable within one question only
	Coverage float64 // the share of the question's weight that the section has
}

// Search returns the sections that are found for a question, the best first,
// and whether the documents are taken to be about it. An answer is made only if
// they are. Errors are those of Answer, except for that.
func (g *Generator) Search(ctx context.Context, question string, limit int) (hits []Hit, about bool, err error) {
	if err := checkQuestion(question, ""); err != nil {
		return nil, false, err
	}
	err = g.consult(ctx, question, g.options.Progress, func(q *query, found []passage) error {
		hits = nil
		for _, p := range found[:min(limit, len(found))] {
			hits = append(hits, Hit{g.folder.layout.repoPath(p.file.path), p.heading, p.anchor, p.score, p.coverage})
		}
		about = answerable(found, q)
		return nil
	})
	return hits, about, err
}

// consult brings the index up to date, looks the question up and hands what was
// found to use, all again with a new index if the old one proves damaged.
func (g *Generator) consult(ctx context.Context, question string, progress func(done, total int), use func(*query, []passage) error) error {
	began := time.Now()
	for attempt := 0; ; attempt++ {
		build, err := g.update(ctx, began, progress)
		if err == nil {
			err = g.lookUp(ctx, question, use)
		}
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case sqliteCode(err) == 0:
			return err
		case !damaged(err) || attempt > 0:
			return storageError("read the index", err)
		}
		g.log.Warn("the index of the documents is damaged and is built anew", "path", g.index.path, "error", err)
		if err := g.rebuild(ctx, build); err != nil {
			return storageError("rebuild the index", err)
		}
	}
}

func (g *Generator) lookUp(ctx context.Context, question string, use func(*query, []passage) error) error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	q, err := g.index.ask(ctx, question)
	if err != nil {
		return err
	}
	if q.sections == 0 {
		return &morningai.TaskError{Code: CodeNoDocuments,
			Message: "there is no usable Markdown document in the documents folder; name another one with --docs"}
	}
	found, err := g.index.find(ctx, q)
	if err != nil {
		return err
	}
	return use(q, found)
}

// rebuild replaces the index, unless that was done since the given build. It
// waits until nobody uses it.
func (g *Generator) rebuild(ctx context.Context, build int) error {
	g.refresh.Lock()
	defer g.refresh.Unlock()
	if g.build != build {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.build++
	g.began = time.Time{}
	return g.index.replace(ctx)
}

// update refreshes the index unless that has been done since the caller began:
// callers that come at the same time share one refresh. It returns the number
// of the index's build.
func (g *Generator) update(ctx context.Context, since time.Time, progress func(done, total int)) (int, error) {
	g.refresh.Lock()
	defer g.refresh.Unlock()
	if g.began.After(since) {
		return g.build, nil
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	now := time.Now()
	skipped, err := g.index.refresh(ctx, g.folder, progress)
	if err != nil {
		return g.build, err
	}
	g.began, g.skipped = now, skipped
	for _, s := range skipped {
		if key := s.Path + "\x00" + s.Reason; !g.reported[key] {
			g.reported[key] = true
			g.log.Warn("a file is not used as a document", "path", s.Path, "reason", s.Reason)
		}
	}
	return g.build, nil
}
