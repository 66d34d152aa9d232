// Package httpapi is the HTTP surface of a server: the JSON API, health, access
// and the OpenAPI document. One table of routes drives all of them.
//
// It uses the standard mux and its own decoder; huma makes the OpenAPI document
// from the same Go types. huma's own request handling stops at encoding/json,
// which lets duplicate names and invalid UTF-8 through.
//
// A body has 30 seconds to arrive, refused or not. Deadlines for headers, for
// idle connections and for answers that nobody reads are the server's.
package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/sessions"
	"github.com/RC918/morningai/internal/wire"
)

// Options say what New cannot find out by itself.
type Options struct {
	Version string // of the program
	// Tokens who may ask for what. Without any, only loopback addresses are
	// answered, unless AllowRemote is set; web pages are refused either way.
	Tokens      *Tokens
	AllowRemote bool
	Logger      *slog.Logger // nil: slog.Default()
	// Stopping, when closed, ends long polls and makes /readyz say no. May be nil.
	Stopping <-chan struct{}
	// Instance names this run of the server, and Documents is the fingerprint
	// of the folder that faq tasks answer from; /livez says both. May be "".
	Instance, Documents string
	// Fleet is what the engine can tell of other nodes and of outages; nil if
	// it knows of none.
	Fleet morningai.Fleet
	// Workers keeps the sessions of workers that claim over HTTP. Its owner
	// closes it when no more requests come.
	Workers *sessions.Keeper
	// OnlyAsk refuses whatever would change something, except reports and claims
	// of workers: this server runs tasks, and others accept them.
	OnlyAsk bool
	// Backup writes a backup of the engine. Nothing is written before the first
	// part of it is known to be good.
	Backup func(context.Context, io.Writer) error
	// Backups tells how scheduled backups fare; nil if there are none.
	Backups func() wire.Backups
	// Incidents returns the outages that the server remembers; nil if there are
	// none to remember.
	Incidents func(context.Context) ([]morningai.Incident, error)
	// LogFolder is where the log of the server is kept; "": it is not kept.
	LogFolder string
	// Attempts counts the attempts that the server's own handlers have ended, by
	// outcome; nil if it has none. OnAttempt takes what is to be called for each
	// of them; may be nil.
	Attempts  func() map[morningai.Outcome]int64
	OnAttempt func(func(morningai.Attempted))
}

// api is the handler. It has no state of its own beside the last health check
// and the counts of requests.
type api struct {
	client   *morningai.Client
	access   access
	log      *slog.Logger
	version  string
	live     wire.Live
	stopping <-chan struct{}
	mux      *http.ServeMux
	bodyTime time.Duration
	fleet    morningai.Fleet // nil without one
	keeper   *sessions.Keeper
	onlyAsk  bool
	backup   func(context.Context, io.Writer) error
	copying  chan struct{} // a token while a backup is read
	backups  func() wire.Backups
	reports  func(context.Context) ([]morningai.Incident, error)
	logDir   string       // the folder of the kept log, or ""
	engine   string       // its name
	redis    bool         // the engine keeps its tasks in Redis
	sessions atomic.Int64 // known last
	prober   prober       // asks the engine whether it takes tasks
	// redisProber asks Redis: the same where nothing stands between.
	redisProber *prober
	metrics     *metrics
	document    []byte // the OpenAPI document
	page        []byte // the same for people
}

// New returns the handler of all routes. The client stays open when the server
// stops; its owner closes it.
func New(client *morningai.Client, opts Options) (http.Handler, error) {
	return newAPI(client, opts)
}

func newAPI(client *morningai.Client, opts Options) (*api, error) {
	a := &api{
		client: client, access: access{tokens: opts.Tokens, remote: opts.AllowRemote},
		log: opts.Logger, version: opts.Version, stopping: opts.Stopping, bodyTime: defaultBodyTime, mux: http.NewServeMux(),
		keeper: opts.Workers, onlyAsk: opts.OnlyAsk, backup: opts.Backup, copying: make(chan struct{}, 1), backups: opts.Backups, reports: opts.Incidents, logDir: opts.LogFolder,
	}
	if a.log == nil {
		a.log = slog.Default()
	}
	a.live = wire.Live{Service: wire.Service, Version: opts.Version, Instance: opts.Instance, Documents: opts.Documents}
	a.setProbes(opts.Fleet)
	table := routes()
	var err error
	if a.metrics, err = newMetrics(opts.Version, opts.Attempts); err != nil {
		return nil, err
	}
	if opts.OnAttempt != nil {
		opts.OnAttempt(a.metrics.attempted("here"))
	}
	if opts.Workers != nil {
		opts.Workers.OnAttempt(a.metrics.attempted("http"))
	}
	if a.document, err = openAPI(table, opts.Version); err != nil {
		return nil, fmt.Errorf("make the OpenAPI document: %w", err)
	}
	if a.page, err = docsPage(a.document); err != nil {
		return nil, fmt.Errorf("make the page of the OpenAPI document: %w", err)
	}
	paths := map[string]map[string]route{}
	for _, rt := range table {
		if paths[rt.path] == nil {
			paths[rt.path] = map[string]route{}
		}
		paths[rt.path][rt.method] = rt
	}
	for pattern, methods := range paths {
		a.mux.Handle(pattern, a.dispatch(methods))
	}
	a.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { a.fail(w, r, route{}, noRoute()) })
	return a, nil
}

// setProbes decides whom health is asked of.
func (a *api) setProbes(fleet morningai.Fleet) {
	a.fleet, a.engine = fleet, a.client.Engine().Capabilities().Name
	if fleet != nil {
		a.engine = engineRedis
	}
	a.redis = a.engine == engineRedis
	a.redisProber = &a.prober
	a.prober = prober{probe: a.client.Engine().Probe, log: a.log, limit: probeTime, age: probeAge, rest: probeAge}
	switch {
	case fleet != nil:
		// Its own outages are told by the engine.
		a.redisProber = &prober{probe: fleet.ProbeShared, limit: redisPatience, age: redisAge, rest: redisRest, patience: redisPatience, late: notInTime()}
	case a.redis:
		// The engine bounds the probe, and then knows why.
		a.prober.age, a.prober.rest, a.prober.patience, a.prober.late = redisAge, redisRest, redisPatience, notInTime()
	}
}

// engineRedis is the name of engines that keep their tasks in Redis.
const engineRedis = "redis"

func noRoute() error {
	return refusal(morningai.CodeNotFound, "there is no such route", "/docs lists them")
}

// call is one request on its way through a route.
type call struct {
	w     http.ResponseWriter
	r     *http.Request
	who   string // the name of the caller's token
	body  []byte
	query url.Values
}

// answer is what a route returns: a value that is written as JSON, or content
// that stands as it is.
type answer struct {
	status int
	body   any
}

// content is a body that is not made from a value.
type content struct {
	kind string
	data []byte
}

// written is the body of an answer that is on its way already.
type written struct{}

// Refuse returns a handler that fails every request, and logs err as the reason.
func Refuse(err error, logger *slog.Logger) http.Handler {
	a := &api{log: logger}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.fail(w, r, route{}, &morningai.Error{Code: codeInternal, Op: "serve", Err: err})
	})
}

// ServeHTTP implements [http.Handler].
func (a *api) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w := &answering{ResponseWriter: rw}
	defer a.metrics.observe(r, w, time.Now())
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	if r.ContentLength != 0 {
		// Set before anything is refused: what is left of a body is read then too.
		deadline(w, time.Now().Add(a.bodyTime))
	}
	if r.URL.Path != "/" && r.URL.Path != path.Clean(r.URL.Path) {
		a.fail(w, r, route{}, noRoute()) // the mux would redirect
		return
	}
	a.mux.ServeHTTP(w, r)
}

func (a *api) dispatch(methods map[string]route) http.Handler {
	allowed := make([]string, 0, len(methods)+1)
	for method := range methods {
		allowed = append(allowed, method)
		if method == http.MethodGet {
			allowed = append(allowed, http.MethodHead)
		}
	}
	slices.Sort(allowed)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		rt, ok := methods[method]
		if !ok {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			a.fail(w, r, route{}, refusal(codeMethodNotAllowed, "the route has other methods: "+strings.Join(allowed, ", "), ""))
			return
		}
		ans, err := a.serve(w, r, rt)
		if err != nil {
			a.fail(w, r, rt, err)
			return
		}
		a.write(w, ans.status, ans.body)
	})
}

// serve takes a request through everything that is the same for all routes. A
// panic becomes an error with its stack: what it says may contain values, and
// goes to the log alone.
func (a *api) serve(w http.ResponseWriter, r *http.Request, rt route) (ans answer, err error) {
	defer func() {
		switch p := recover(); p {
		case nil:
		case http.ErrAbortHandler:
			panic(p)
		default:
			err = &morningai.Error{Code: codeInternal, Op: rt.id, Err: fmt.Errorf("panic: %v\n%s", p, debug.Stack())}
		}
	}()
	c := &call{w: w, r: r}
	if c.who, err = a.access.check(w, r, rt.scope); err != nil {
		return answer{}, err
	}
	if err := checkAccept(r.Header, rt.kind()); err != nil {
		return answer{}, err
	}
	if rt.scope != scopeOpen { // probes are asked in many ways
		if c.query, err = rt.checkQuery(r.URL.RawQuery); err != nil {
			return answer{}, err
		}
	}
	if err := rt.only(a); err != nil {
		return answer{}, err
	}
	if rt.method == http.MethodGet && rt.scope != scopeOpen {
		if err := a.refuseBody(w, r); err != nil {
			return answer{}, err
		}
	}
	if rt.reads() || rt.claims() {
		if c.r, err = onlyHere(r); err != nil {
			return answer{}, err
		}
	}
	if rt.method != http.MethodGet {
		if c.body, err = a.readBody(w, r, rt.body != nil && !rt.bodyOptional); err != nil {
			return answer{}, err
		}
		if rt.body == nil && len(c.body) > 0 {
			if err := decode(c.body, new(struct{}), nil); err != nil {
				return answer{}, err
			}
		}
	}
	return rt.serve(a, c)
}

// checkAccept refuses requests that rule out what the route answers.
func checkAccept(h http.Header, kind string) error {
	accepts := strings.Join(h.Values("Accept"), ",")
	if strings.TrimSpace(accepts) == "" {
		return nil
	}
	media, _, _ := strings.Cut(kind, ";")
	family, _, _ := strings.Cut(kind, "/")
	for choice := range strings.SplitSeq(accepts, ",") {
		name, params, _ := strings.Cut(choice, ";")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "*/*", family + "/*", media:
			if !ruledOut(params) {
				return nil
			}
		}
	}
	return refusal(codeNotAcceptable, "the answer is "+kind, "send the header Accept: "+kind+", or none")
}

// ruledOut reports whether the parameters of a choice give it no weight.
func ruledOut(params string) bool {
	for param := range strings.SplitSeq(params, ";") {
		name, weight, _ := strings.Cut(strings.TrimSpace(param), "=")
		if q, err := strconv.ParseFloat(weight, 64); err == nil && strings.EqualFold(name, "q") {
			return q <= 0
		}
	}
	return false
}

// fail answers an error, and logs it if the server is to blame.
func (a *api) fail(w http.ResponseWriter, r *http.Request, rt route, err error) {
	f := failureOf(err)
	gone := errors.Is(err, context.Canceled) && r.Context().Err() != nil
	if f.kind.status >= http.StatusInternalServerError && rt.scope != scopeOpen && !gone || f.kind.code == codeInternal {
		level := slog.LevelError
		if f.kind.code == codeRedisUnavailable || f.kind.code == morningai.CodeStatusUnknown {
			level = slog.LevelDebug // an outage is told once, not for each request
		}
		a.log.Log(r.Context(), level, "a request failed", "method", r.Method, "route", r.Pattern, "code", f.kind.code, "error", err)
	}
	f.headers(w.Header())
	if rt.agent {
		status, body := f.agent()
		a.write(w, status, body)
		return
	}
	a.write(w, f.kind.status, f.problem())
}

// write sends an answer. Once it has begun, what goes wrong is between the
// connection's two ends.
func (a *api) write(w http.ResponseWriter, status int, body any) {
	if _, sent := body.(written); sent {
		return
	}
	c, ok := body.(content)
	if !ok {
		var err error
		c.kind = "application/json"
		if _, ok := body.(wire.Problem); ok {
			c.kind = wire.ProblemType
		}
		if c.data, err = marshal(body); err != nil {
			a.log.Error("an answer cannot be written as JSON", "error", err)
			a.write(w, http.StatusInternalServerError, failureOf(refusal(codeInternal, "", "")).problem())
			return
		}
	}
	w.Header().Set("Content-Type", c.kind)
	w.WriteHeader(status)
	_, _ = w.Write(c.data)
}

// marshal writes JSON for programs, not for web pages: < stays <.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
