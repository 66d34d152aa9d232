package webhook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/RC918/morningai"
)

const secret = "a secret of more than 16 bytes"

// receiver checks signatures, and refuses as often as it is told to.
type receiver struct {
	t       *testing.T
	server  *httptest.Server
	got     chan message
	refuses int
	mu      sync.Mutex
}

type message struct {
	id, kind, incident string
	ended              bool
}

func newReceiver(t *testing.T, refuses int) *receiver {
	r := &receiver{t: t, refuses: refuses, got: make(chan message, 100)}
	r.server = httptest.NewServer(r)
	t.Cleanup(r.server.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	text, err := io.ReadAll(req.Body)
	if err != nil {
		r.t.Error(err)
	}
	id := req.Header.Get("Webhook-Id")
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(id + "." + req.Header.Get("Webhook-Timestamp") + "." + string(text)))
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); req.Header.Get("Webhook-Signature") != want {
		r.t.Errorf("the signature is %q, want %q", req.Header.Get("Webhook-Signature"), want)
	}
	r.mu.Lock()
	refuse := r.refuses > 0
	r.refuses--
	r.mu.Unlock()
	if refuse {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	var b struct {
		Type string `json:"type"`
		Data struct {
			ID      string  `json:"id"`
			EndedAt *string `json:"ended_at"`
		} `json:"data"`
	}
	if err := json.Unmarshal(text, &b); err != nil {
		r.t.Error(err)
	}
	r.got <- message{id, b.Type, b.Data.ID, b.Data.EndedAt != nil}
}

// outages is what a server remembers.
type outages struct {
	mu  sync.Mutex
	all []morningai.Incident
	// rounds grows with each look.
	rounds chan struct{}
}

func (o *outages) list(context.Context) ([]morningai.Incident, error) {
	select {
	case o.rounds <- struct{}{}:
	default:
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]morningai.Incident(nil), o.all...), nil
}

func (o *outages) set(i int, change func(*morningai.Incident)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change(&o.all[i])
}

// rest waits until the sender has looked n times more.
func (o *outages) rest(n int) {
	for range n + 1 {
		<-o.rounds
	}
}

func incident(t *testing.T, started, ended time.Duration) morningai.Incident {
	t.Helper()
	id, err := morningai.NewID()
	if err != nil {
		t.Fatal(err)
	}
	i := morningai.Incident{ID: id, Node: "a", Cause: "Redis is away", StartedAt: time.Now().Add(-started)}
	if ended > 0 {
		i.EndedAt = time.Now().Add(-ended)
	}
	return i
}

// start runs a sender until stop.
func start(t *testing.T, o *outages, r *receiver, state string, after time.Duration) (stop func()) {
	t.Helper()
	s, err := New(Config{URL: r.server.URL + "/hook?token=t0ken", Secret: secret, After: after, State: state, Incidents: o.list,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	s.look, s.first = time.Millisecond, time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() { s.Run(ctx) })
	return func() { cancel(); wait.Wait() }
}

// TestOutagesThatLastAreTold: once when one lasts, once when it is over, over a
// restart and refusals; a blip and what was over before are not told.
func TestOutagesThatLastAreTold(t *testing.T) {
	t.Parallel()
	old, blip, long := incident(t, 5*time.Hour, 4*time.Hour), incident(t, 10*time.Second, 0), incident(t, 2*time.Minute, 0)
	o := &outages{all: []morningai.Incident{blip, long, old}, rounds: make(chan struct{})}
	r := newReceiver(t, 2)
	state := filepath.Join(t.TempDir(), "notified.json")
	stop := start(t, o, r, state, time.Minute)
	if m := <-r.got; m.kind != "outage.lasting" || m.incident != long.ID.String() || m.ended || m.id != long.ID.String()+".outage.lasting" {
		t.Fatalf("the receiver was told %+v", m)
	}
	o.rest(3)
	stop()

	stop = start(t, o, r, state, time.Minute) // a restart in the outage
	o.rest(3)
	o.set(0, func(i *morningai.Incident) { i.EndedAt = time.Now() })
	o.set(1, func(i *morningai.Incident) { i.EndedAt, i.Backlog = time.Now(), 7 })
	o.rest(3) // what is still being delivered has no last counts
	if len(r.got) > 0 {
		t.Errorf("too early, or twice: %+v", <-r.got)
	}
	o.set(1, func(i *morningai.Incident) { i.Backlog = 0 })
	if m := <-r.got; m.kind != "outage.over" || m.incident != long.ID.String() || !m.ended {
		t.Errorf("the receiver was told %+v", m)
	}
	o.rest(3)
	stop()

	stop = start(t, o, r, state, time.Minute)
	o.rest(3)
	stop()
	if len(r.got) > 0 {
		t.Errorf("twice: %+v", <-r.got)
	}
}

// TestLossIsTold: tasks that are lost are an alarm however short the outage was.
func TestLossIsTold(t *testing.T) {
	t.Parallel()
	lost := incident(t, 10*time.Second, 0)
	o := &outages{all: []morningai.Incident{lost}, rounds: make(chan struct{})}
	r := newReceiver(t, 0)
	stop := start(t, o, r, filepath.Join(t.TempDir(), "notified.json"), time.Minute)
	defer stop()
	o.rest(3)
	o.set(0, func(i *morningai.Incident) { i.EndedAt, i.Lost = time.Now(), 1 })
	if m := <-r.got; m.kind != "outage.over" || m.incident != lost.ID.String() {
		t.Errorf("the receiver was told %+v", m)
	}
}

func TestWrongSettings(t *testing.T) {
	t.Parallel()
	for _, c := range []Config{
		{URL: "ftp://x/", Secret: secret}, {URL: "nothing", Secret: secret}, {URL: "http://x/", Secret: "short"},
		{URL: "http://x/", Secret: "whsec_%%"}, {URL: "http://x/", Secret: "whsec_c2hvcnQ="}, {URL: "http://x/", Secret: secret, After: -1},
	} {
		c.State = filepath.Join(t.TempDir(), "s")
		if _, err := New(c); !errors.Is(err, morningai.ErrInvalidInput) || strings.Contains(err.Error(), secret) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if _, err := New(Config{URL: "https://x/", Secret: "whsec_" + base64.StdEncoding.EncodeToString([]byte(secret)), State: filepath.Join(t.TempDir(), "s")}); err != nil {
		t.Error(err)
	}
}

// TestAddressIsNotTold: a token in the address stays out of errors.
func TestAddressIsNotTold(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, 0)
	r.server.Close()
	s, err := New(Config{URL: r.server.URL + "/?token=t0ken", Secret: secret, State: filepath.Join(t.TempDir(), "s")})
	if err != nil {
		t.Fatal(err)
	}
	i := incident(t, time.Hour, 0)
	if err := s.send(t.Context(), lasting, &i, time.Now()); err == nil || strings.Contains(err.Error(), "t0ken") {
		t.Errorf("it says %v", err)
	}
}

// TestReceiversThatDoNotTakeIt: one that is away, does not answer in time, fails or sends
// us elsewhere has not been told, and is asked again under the same id until it takes it.
func TestReceiversThatDoNotTakeIt(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("a notification is taken elsewhere: %s %s", r.Method, r.URL.Path)
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(elsewhere.Close)
	failing := map[string]http.HandlerFunc{
		"fails":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"redirects": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, elsewhere.URL, http.StatusFound) },
		"redirects 308": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusPermanentRedirect)
		},
		"hangs up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"does not answer": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // only then the end of the request is noticed
			<-r.Context().Done()
		},
	}
	for name, fail := range failing {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ids := make(chan string, 100)
			var asked atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ids <- r.Header.Get("Webhook-Id")
				if asked.Add(1) <= 2 {
					fail(w, r)
				}
			}))
			defer server.Close()
			long := incident(t, 2*time.Minute, 0)
			o := &outages{all: []morningai.Incident{long}, rounds: make(chan struct{})}
			s, err := New(Config{URL: server.URL, Secret: secret, After: time.Minute, State: filepath.Join(t.TempDir(), "s"), Incidents: o.list,
				Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
			if err != nil {
				t.Fatal(err)
			}
			s.look, s.first, s.client.Timeout = time.Millisecond, time.Millisecond, time.Second
			ctx, cancel := context.WithCancel(t.Context())
			var wait sync.WaitGroup
			wait.Go(func() { s.Run(ctx) })
			defer wait.Wait()
			defer cancel()
			for range 3 {
				if id := <-ids; id != long.ID.String()+".outage.lasting" {
					t.Errorf("the id is %q", id)
				}
			}
			o.rest(3)
			if len(ids) > 0 {
				t.Errorf("it is told again after it has taken it: %q", <-ids)
			}
		})
	}
}
