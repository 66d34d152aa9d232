package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/client"
)

// Bounds on what a connection may take, so that slow and greedy clients cost
// little. The API bounds the time for a request's body itself. An answer may be
// held for as long as a client asks to wait; only sending it is bounded.
const (
	headerTime  = 10 * time.Second // for the headers of a request
	idleTime    = 2 * time.Minute  // between two requests of a connection
	sendTime    = 2 * time.Minute  // for an answer, once it has begun
	headerBytes = 64 << 10
)

func openListener(ctx context.Context, listen string) (net.Listener, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err == nil {
		return ln, nil
	}
	e := &morningai.Error{Code: morningai.CodeInvalidInput, Op: "listen", Detail: "cannot listen on " + listen, Err: err}
	switch {
	case isAddrInUse(err):
		e.Code, e.Err = morningai.CodeConflict, nil
		e.Detail = fmt.Sprintf("the address %s is in use by another program", listen)
		e.Hint = "stop that program, or choose another port with --listen; port 0 picks a free one"
	case isAddrUnknown(err):
		e.Detail, e.Err = fmt.Sprintf("%s is not an address of this machine", listen), nil
		e.Hint = "choose another address with --listen"
	case errors.Is(err, fs.ErrPermission):
		e.Code, e.Err = client.CodeForbidden, nil
		e.Detail = "the system does not allow listening on " + listen
		e.Hint = "ports below 1024 are often reserved; choose another with --listen"
	}
	return nil, e
}

// reachable is the address of a listener for programs on this machine.
func reachable(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if ok && tcp.IP.IsUnspecified() {
		if tcp.IP.To4() != nil {
			return "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(tcp.Port))
		}
		return "http://" + net.JoinHostPort("::1", strconv.Itoa(tcp.Port))
	}
	return "http://" + addr.String()
}

// newHTTPServer returns a server whose requests end with base.
func newHTTPServer(base context.Context, h http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           timed(h),
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    headerBytes,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return base },
	}
}

// timed bounds the time for sending an answer from its first byte. The server's
// own WriteTimeout counts from the request, and would cut off those who asked
// to wait.
func timed(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(&timedWriter{ResponseWriter: w, control: http.NewResponseController(w)}, r)
	})
}

type timedWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	begun   bool
}

// Unwrap lets handlers reach the connection's deadlines.
func (w *timedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *timedWriter) WriteHeader(status int) {
	w.begin()
	w.ResponseWriter.WriteHeader(status)
}

func (w *timedWriter) Write(p []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(p)
}

// begin sets the deadline. Connections without deadlines are not the network's.
func (w *timedWriter) begin() {
	if !w.begun {
		w.begun = true
		_ = w.control.SetWriteDeadline(time.Now().Add(sendTime))
	}
}

// located is where other servers reach this one. It is known once the server
// listens.
type located struct{ at atomic.Pointer[string] }

func (l *located) url() string {
	if at := l.at.Load(); at != nil {
		return *at
	}
	return ""
}

// set takes the address that the server listens on. One that listens on every
// address of its machine is reached by the machine's name.
func (l *located) set(addr net.Addr) {
	url := "http://" + addr.String()
	if tcp, ok := addr.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		name, err := os.Hostname()
		if err != nil {
			return // nobody can ask this server
		}
		url = "http://" + net.JoinHostPort(name, strconv.Itoa(tcp.Port))
	}
	l.at.Store(&url)
}
