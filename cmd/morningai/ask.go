package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os/signal"
	"strings"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
	"github.com/RC918/morningai/internal/address"
	"github.com/RC918/morningai/server"
)

type askCmd struct {
	Question string `arg:"" help:"The question."`
	Docs     string `default:"." type:"path" placeholder:"DIR" env:"MORNINGAI_DOCS" help:"Folder of Markdown documents; the current one unless given."`
	Repo     string `placeholder:"OWNER/NAME" env:"MORNINGAI_REPO" help:"Repository to name in the document; the git origin of the documents' folder unless given."`
	Out      string `type:"path" placeholder:"FILE" help:"Write the document to this file instead of standard output."`
	connection
}

// Run prints a document that answers the question, or says that the documents
// are not about it.
func (c *askCmd) Run(ctx context.Context, s streams) error {
	c.Question = strings.TrimSpace(c.Question)
	if c.Question == "" {
		return usage("the question is empty", `for example: morningai ask "How do I handle a Redis outage?"`)
	}
	if err := checkOut(c.Out); err != nil {
		return err
	}
	var err error
	if c.Data, err = dataFolder(c.Data); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, stopSignals...)
	defer stop()
	body, task, err := c.answer(ctx, s)
	if err != nil {
		return err
	}
	return c.print(s, body, task)
}

// answer returns the ended task, and its JSON form.
func (c *askCmd) answer(ctx context.Context, s streams) ([]byte, *morningai.Task, error) {
	l, where := c.find(ctx)
	if l != nil {
		defer l.Close()
		task, err := c.remote(ctx, s, l)
		if err == nil {
			return l.body(), task, nil
		}
		if !errors.Is(err, client.ErrUnauthenticated) && !errors.Is(err, client.ErrForbidden) {
			return nil, nil, err
		}
		where = "the server at " + l.Address() + " needs a token for this"
	}
	fmt.Fprintf(s.err, "answering in this process: %s\n", where)
	bar := newBar(s.err, "indexing")
	task, err := server.Answer(ctx, server.Question{
		Text: c.Question, Docs: c.Docs, Repo: c.Repo, Data: c.Data,
		Logger: slog.New(slog.NewTextHandler(s.err, &slog.HandlerOptions{Level: slog.LevelWarn})), Progress: bar.set,
	})
	bar.clear()
	if err != nil {
		if ctx.Err() != nil {
			fmt.Fprintln(s.err, "interrupted; nothing was written")
			return nil, nil, ended(exitFailed)
		}
		return nil, nil, err
	}
	body, err := json.Marshal(task)
	return body, task, err
}

// find returns a link to a running server that serves the very same documents,
// or says why there is none to use.
func (c *askCmd) find(ctx context.Context) (l *link, where string) {
	found, guessed := c.Server, false
	if found == "" {
		var tried []string
		var err error
		found, tried, err = c.discover(ctx, guess)
		if err != nil || found == "" {
			return nil, "no running server found"
		}
		guessed = len(tried) > 0
	}
	live, err := identify(ctx, found)
	if err != nil {
		return nil, fmt.Sprintf("the server at %s cannot be used (%s)", found, reason(err))
	}
	same, err := address.Fingerprint(live.Instance, c.Docs)
	if err != nil || live.Documents != same {
		return nil, "the server at " + found + " serves other documents"
	}
	l = &link{guessed: guessed, tokened: c.Token != ""}
	token := c.Token
	if guessed {
		token = ""
	}
	if err := l.connect(found, token); err != nil {
		return nil, err.Error()
	}
	return l, ""
}

// remote has the server answer.
func (c *askCmd) remote(ctx context.Context, s streams, l *link) (*morningai.Task, error) {
	question := map[string]string{"question": c.Question}
	if c.Repo != "" {
		question["repo"] = c.Repo
	}
	payload, err := json.Marshal(question)
	if err != nil {
		return nil, err
	}
	spec := morningai.NewTaskSpec("faq", payload)
	spec.MaxAttempts = 1 // somebody waits for the answer
	task, err := l.Enqueue(ctx, spec)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(s.err, "answered by the server at %s, which serves the same documents (task %s)\n", l.Address(), task.ID)
	end, err := l.Wait(ctx, task.ID)
	if errors.Is(err, context.Canceled) {
		fmt.Fprintf(s.err, "stopped waiting; the task goes on. To see it: morningai task watch %s\n", task.ID)
		return nil, ended(exitFailed)
	}
	return end, err
}

// print writes the document, or says why there is none.
func (c *askCmd) print(s streams, body []byte, task *morningai.Task) error {
	if c.JSON {
		if err := printJSON(s.out, body); err != nil {
			return err
		}
	}
	if task.State != morningai.StateSucceeded {
		return c.unanswered(s, task)
	}
	var result struct {
		Document string `json:"document"`
	}
	if err := json.Unmarshal(task.Result, &result); err != nil || result.Document == "" {
		return fmt.Errorf("the task %s succeeded without a document", task.ID)
	}
	switch {
	case c.Out != "":
		if err := writeOut(c.Out, result.Document); err != nil {
			return err
		}
		fmt.Fprintf(s.err, "written to %s\n", c.Out)
	case !c.JSON:
		if _, err := fmt.Fprintf(s.out, "%s\n", strings.TrimSuffix(result.Document, "\n")); err != nil {
			return err
		}
	}
	return nil
}

func (c *askCmd) unanswered(s streams, task *morningai.Task) error {
	e := &morningai.Error{Detail: "the question was not answered: the task is " + string(task.State)}
	if task.Error != nil {
		e.Detail = task.Error.Message
		if task.Error.Code == "no_relevant_documents" {
			e.Hint = "the documents are in " + c.Docs
		}
	}
	return &exitError{exitFailed, e}
}
