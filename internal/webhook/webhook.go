// Package webhook tells a receiver over HTTP of outages that last, so that people
// are woken for those and not for every blip. The form and the signature are
// those of Standard Webhooks (https://www.standardwebhooks.com).
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/wire"
)

// Config says whom to tell of what.
type Config struct {
	URL    string // it may hold a token, and is never logged
	Secret string // what is signed with; after "whsec_" in base64
	After  time.Duration
	// State is the file that remembers what was told, over restarts.
	State string
	// Incidents returns the outages that are remembered, newest first.
	Incidents func(context.Context) ([]morningai.Incident, error)
	Logger    *slog.Logger
}

// Sender tells of outages. Run it once.
type Sender struct {
	Config
	key    []byte
	host   string
	client *http.Client
	look   time.Duration // between two looks at the incidents
	first  time.Duration // the first pause after a failure
	told   map[morningai.ID]event
	tries  map[morningai.ID]*try
}

// event is what is told of an outage.
type event string

const (
	lasting event = "outage.lasting"
	over    event = "outage.over"
)

type try struct {
	failed int
	next   time.Time
}

const (
	lookEvery   = time.Second
	sendLimit   = 10 * time.Second
	longestWait = time.Minute
	// settleTime is how long the end of an outage waits for its last counts.
	settleTime = time.Minute
	// giveUp is when nobody needs to be told any more that an outage has ended.
	giveUp = 24 * time.Hour
)

// New checks the settings and reads what was told before. On the first start what
// has ended before is not told.
func New(c Config) (*Sender, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return nil, wrong("notify url", "must be an http or https address")
	}
	key := []byte(c.Secret)
	if text, ok := strings.CutPrefix(c.Secret, "whsec_"); ok {
		if key, err = base64.StdEncoding.DecodeString(text); err != nil {
			return nil, wrong("notify secret", "must be base64 after whsec_")
		}
	}
	if len(key) < leastSecret {
		return nil, wrong("notify secret", fmt.Sprintf("must have at least %d bytes", leastSecret))
	}
	if c.After < 0 {
		return nil, wrong("notify after", "must not be negative")
	}
	s := &Sender{Config: c, key: key, host: u.Host, look: lookEvery, first: time.Second, tries: map[morningai.ID]*try{},
		client: &http.Client{Timeout: sendLimit, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
	return s, s.load()
}

// leastSecret is what cannot be guessed.
const leastSecret = 16

func wrong(location, message string) error {
	return morningai.InvalidInput("notify", morningai.FieldError{Location: location, Message: message})
}

func (s *Sender) load() error {
	text, err := os.ReadFile(s.State)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("read which outages were told: %w", err)
	}
	if err := json.Unmarshal(text, &s.told); err != nil {
		return &morningai.Error{Code: morningai.CodeStorageFailed, Op: "notify", Detail: "the file that remembers which outages were told cannot be read: " + s.State,
			Hint: "remove it; outages that last are told once more then", Err: err}
	}
	return nil
}

func (s *Sender) save() error {
	text, err := json.Marshal(s.told)
	if err == nil {
		next := s.State + ".new"
		if err = os.WriteFile(next, text, 0o600); err == nil {
			err = os.Rename(next, s.State)
		}
	}
	if err != nil {
		return fmt.Errorf("remember which outages were told, in %s: %w", filepath.Base(s.State), err)
	}
	return nil
}

// Run tells of outages until ctx ends.
func (s *Sender) Run(ctx context.Context) {
	tick := time.NewTicker(s.look)
	defer tick.Stop()
	defer s.client.CloseIdleConnections()
	for {
		all, err := s.Incidents(ctx)
		if err == nil {
			err = s.round(ctx, all)
		}
		if err != nil && ctx.Err() == nil {
			s.Logger.Warn("outages cannot be told to the receiver of notifications", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// round tells what is due of all outages.
func (s *Sender) round(ctx context.Context, all []morningai.Incident) error {
	if s.told == nil {
		s.told = map[morningai.ID]event{}
		for i := range all {
			if !all[i].EndedAt.IsZero() {
				s.told[all[i].ID] = over
			}
		}
		if err := s.save(); err != nil {
			return err
		}
	}
	known := map[morningai.ID]bool{}
	var errs []error
	for i := len(all) - 1; i >= 0; i-- {
		known[all[i].ID] = true
		errs = append(errs, s.tell(ctx, &all[i]))
	}
	forgotten := false
	for id := range s.told {
		if !known[id] {
			delete(s.told, id)
			delete(s.tries, id)
			forgotten = true
		}
	}
	if forgotten {
		errs = append(errs, s.save())
	}
	return errors.Join(errs...)
}

// due is what is to be told of an outage now, or "".
func (s *Sender) due(i *morningai.Incident, now time.Time) event {
	end := i.EndedAt
	if end.IsZero() {
		end = now
	}
	worth := end.Sub(i.StartedAt) >= s.After || i.Lost > 0
	switch told := s.told[i.ID]; {
	case told == over, !worth && told == "":
		return ""
	case i.EndedAt.IsZero():
		if told == lasting {
			return ""
		}
		return lasting
	case i.Backlog > 0 && now.Sub(i.EndedAt) < settleTime:
		return ""
	}
	return over
}

func (s *Sender) tell(ctx context.Context, i *morningai.Incident) error {
	now := time.Now()
	what := s.due(i, now)
	t := s.tries[i.ID]
	if what == "" || t != nil && now.Before(t.next) {
		return nil
	}
	if what == over && now.Sub(i.EndedAt) > giveUp {
		s.told[i.ID] = over
		return errors.Join(fmt.Errorf("the receiver could not be told of outage %s for a day, and is not told any more", i.ID), s.save())
	}
	if err := s.send(ctx, what, i, now); err != nil {
		if t == nil {
			t = &try{}
			s.tries[i.ID] = t
		}
		t.next = now.Add(min(s.first<<min(t.failed, 10), longestWait))
		t.failed++
		return err
	}
	delete(s.tries, i.ID)
	s.told[i.ID] = what
	err := s.save()
	s.Logger.Info("the receiver of notifications was told of an outage", "event", string(what), "incident", i.ID, "receiver", s.host)
	return err
}

// body is what is sent.
type body struct {
	Type      event         `json:"type"`
	Timestamp time.Time     `json:"timestamp"`
	Data      wire.Incident `json:"data"`
}

// send makes one request. Its id is the same whenever it is tried again.
func (s *Sender) send(ctx context.Context, what event, i *morningai.Incident, now time.Time) error {
	text, err := json.Marshal(body{what, now.UTC(), wire.NewIncident(*i, true)})
	if err != nil {
		return fmt.Errorf("write a notification: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("make a notification for %s", s.host)
	}
	id, at := i.ID.String()+"."+string(what), strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, s.key)
	fmt.Fprintf(mac, "%s.%s.%s", id, at, text)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Webhook-Id", id)
	req.Header.Set("Webhook-Timestamp", at)
	req.Header.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	res, err := s.client.Do(req)
	if err != nil {
		var of *url.Error
		if errors.As(err, &of) {
			err = of.Err // without the address
		}
		return fmt.Errorf("%s does not take a notification: %w", s.host, err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // so that the connection can be used again
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%s answers a notification with %d", s.host, res.StatusCode)
	}
	return nil
}
