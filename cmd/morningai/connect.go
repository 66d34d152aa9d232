package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
	"github.com/RC918/morningai/internal/address"
)

// guess is where a server listens unless told otherwise.
const guess = "http://127.0.0.1:8080"

// probeTime bounds the question who answers at an address.
const probeTime = 2 * time.Second

// connection has the flags of commands that print what a server answers.
type connection struct {
	reach
	JSON bool `name:"json" help:"Print the answer of the HTTP API as it came."`
}

// reach has the flags by which a server is found.
type reach struct {
	Server string `placeholder:"URL" env:"MORNINGAI_SERVER" help:"Address of the server. Without it: the server on the same data folder, then ${guess}."`
	Token  string `placeholder:"TOKEN" env:"MORNINGAI_TOKEN" help:"Token to send, never to a guessed address."`
	Data   string `placeholder:"DIR" type:"path" env:"MORNINGAI_DATA" help:"Data folder of the server to find."`
}

// dataFolder is the folder given, or the user's.
func dataFolder(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	folder, err := address.DataFolder(os.Getenv)
	if err != nil {
		return "", usage(err.Error(), "")
	}
	return folder, nil
}

// link is a connection to a server.
type link struct {
	*client.Client
	guessed bool // the address was guessed, and the token not sent
	tokened bool // a token was given

	mu   sync.Mutex // several workers may share a link
	last []byte     // the last body that came
}

// body is the last one that came.
func (l *link) body() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

func (l *link) keep(body []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = body
}

// dial finds the server.
func (c *reach) dial(ctx context.Context) (*link, error) { return c.dialOr(ctx, guess) }

// dialOr connects to the server that is named or found, or else to the one at
// the guessed address, without the token.
func (c *reach) dialOr(ctx context.Context, guess string) (*link, error) {
	l := &link{tokened: c.Token != ""}
	if c.Server != "" {
		return l, l.connect(c.Server, c.Token)
	}
	found, tried, err := c.discover(ctx, guess)
	if err != nil {
		return nil, err
	}
	if found == "" {
		return nil, &morningai.Error{Code: client.CodeUnreachable, Detail: "no server found; tried " + strings.Join(tried, "; "),
			Hint: "start one with: morningai serve, or say where it is with --server or --data"}
	}
	if l.guessed = len(tried) > 0; l.guessed {
		return l, l.connect(found, "")
	}
	return l, l.connect(found, c.Token)
}

func (l *link) connect(server, token string) error {
	cl, err := client.New(server, client.WithToken(token), client.WithBody(l.keep))
	l.Client = cl
	return err
}

// discover returns the address of the server on the data folder, or the guessed
// one if a server answers there, and what was tried in vain before that.
func (c *reach) discover(ctx context.Context, guess string) (found string, tried []string, err error) {
	folder := c.Data
	if folder == "" {
		if folder, err = address.DataFolder(os.Getenv); err != nil {
			return "", nil, err
		}
	}
	note, err := address.Read(folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		tried = append(tried, "the data folder "+folder+" (no server has left its address there)")
	case err != nil:
		tried = append(tried, err.Error())
	default:
		live, err := identify(ctx, note.URL)
		if err == nil && live.Instance == note.Instance {
			return note.URL, nil, nil
		}
		if err == nil {
			err = errors.New("another server answers there")
		}
		tried = append(tried, fmt.Sprintf("%s from the data folder %s (%v)", note.URL, folder, reason(err)))
	}
	if guess == "" || note.URL == guess {
		return "", tried, nil
	}
	if _, err := identify(ctx, guess); err != nil {
		return "", append(tried, fmt.Sprintf("%s (%v)", guess, reason(err))), nil
	}
	return guess, tried, nil
}

// identify asks who answers at an address. It sends no token.
func identify(ctx context.Context, server string) (client.Live, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	cl, err := client.New(server)
	if err != nil {
		return client.Live{}, err
	}
	defer cl.Close()
	return cl.Live(ctx)
}

// reason is the innermost useful wording of why a server was not reached.
func reason(err error) string {
	e, ok := errors.AsType[*morningai.Error](err)
	switch {
	case ok && e.Err != nil:
		if _, answered := errors.AsType[*client.AnswerError](e.Err); answered {
			return "what answers there is not MorningAI"
		}
		return e.Err.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer"
	}
	return err.Error()
}

// hint adds to a refusal that the token was held back.
func (l *link) hint(err error) error {
	if l.guessed && l.tokened && errors.Is(err, client.ErrUnauthenticated) {
		return &morningai.Error{Code: client.CodeUnauthenticated, Detail: "the server at " + l.Address() + " asks for a token",
			Hint: "its address was guessed, so the token was not sent; repeat with --server " + l.Address(), Err: err}
	}
	return err
}

// answerTime bounds calls that do not wait for anything.
const answerTime = time.Minute

// call connects, makes one call, and prints what it says: the body as it came,
// or text made of it.
func (c *connection) call(ctx context.Context, s streams, do func(context.Context, *link) (text string, err error)) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	l, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer l.Close()
	text, err := do(ctx, l)
	if err != nil {
		return l.hint(err)
	}
	if c.JSON {
		return printJSON(s.out, l.body())
	}
	return show(s.out, text)
}
