package builtin

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/RC918/morningai"
)

// TestHTTPUsesNoProxy relies on TestMain, which names a proxy in the
// environment: it would be reached, and reach any address for us.
func TestHTTPUsesNoProxy(t *testing.T) {
	_, err := send(t, loopback, nil, object{"url": "http://10.0.0.1/"})
	requireCode(t, err, CodeAddressNotAllowed, true)
}

func TestHTTPRedirects(t *testing.T) {
	type seen struct{ method, body, key, referer, task string }
	var last seen
	var hops int
	var s *httptest.Server
	other := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/back" {
			http.Redirect(w, r, s.URL+"/end", http.StatusFound)
			return
		}
		b, _ := io.ReadAll(r.Body)
		last = seen{r.Method, string(b), r.Header.Get("X-Key"), r.Referer(), r.Header.Get("Morningai-Task-Id")}
	})
	s = serve(t, func(w http.ResponseWriter, r *http.Request) {
		to := map[string]string{
			"/loop": "/loop", "/other": other.URL, "/file": "file:///etc/passwd", "/odd": "http://2130706433/",
			"/inside": "http://127.0.0.2/", "/inside6": "http://[::1]/", "/here": "/end", "/keep": other.URL, "/bounce": other.URL + "/back",
		}[r.URL.Path]
		hops++
		switch {
		case r.URL.Path == "/end":
			last = seen{method: r.Method, key: r.Header.Get("X-Key"), referer: r.Referer()}
		case r.URL.Path == "/keep":
			http.Redirect(w, r, to, http.StatusTemporaryRedirect)
		case to != "":
			http.Redirect(w, r, to, http.StatusFound)
		}
	})
	only := prefixes("127.0.0.1/32")
	request := func(path string) object {
		return object{"url": s.URL + path, "method": "POST", "body": "text", "headers": object{"X-Key": "secret"}}
	}

	if _, err := send(t, only, nil, request("/here?q=secret")); err != nil {
		t.Fatal(err)
	}
	if last != (seen{method: "GET", key: "secret"}) {
		t.Errorf("to the same origin: %+v", last)
	}
	if _, err := send(t, only, nil, request("/bounce?q=secret")); err != nil {
		t.Fatal(err)
	}
	if last != (seen{method: "GET"}) {
		t.Errorf("back from another origin: %+v", last)
	}
	if _, err := send(t, only, nil, request("/keep?q=secret")); err != nil {
		t.Fatal(err)
	}
	if last.method != "POST" || last.body != "text" || last.key != "" || last.referer != "" || last.task == "" {
		t.Errorf("307 to another origin: %+v", last)
	}
	if _, err := send(t, only, nil, request("/other?q=secret")); err != nil {
		t.Fatal(err)
	}
	if last.method != "GET" || last.body != "" || last.key != "" || last.referer != "" {
		t.Errorf("302 to another origin: %+v", last)
	}

	for path, code := range map[string]string{
		"/file": "http_redirect", "/odd": CodeAddressNotAllowed, "/inside": CodeAddressNotAllowed, "/inside6": CodeAddressNotAllowed,
	} {
		_, err := send(t, only, nil, request(path))
		requireCode(t, err, code, true)
	}
	hops = 0
	_, err := send(t, only, nil, request("/loop"))
	requireCode(t, err, "too_many_redirects", true)
	if hops != maxRedirects+1 {
		t.Errorf("%d requests, want %d", hops, maxRedirects+1)
	}
}

// A redirect that nobody can follow is an answer that will not change, and not
// a failure of the network.
func TestHTTPUnreadableRedirects(t *testing.T) {
	for _, location := range []string{
		"http://[::1", "http:///x", "http://127.0.0.1:99999/", "http://127.0.0.1:0/", "http://127.0.0.1:x/", "http://a b/", "%zz", "mailto:x",
	} {
		s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", location)
			w.WriteHeader(http.StatusFound)
		})
		_, err := send(t, loopback, nil, object{"url": s.URL})
		if err == nil {
			t.Errorf("%s: followed", location)
			continue
		}
		requireCode(t, err, "http_redirect", true)
	}
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusFound) })
	_, err := send(t, loopback, nil, object{"url": s.URL})
	requireCode(t, err, "http_status", true)
}

// Credentials in a redirect's address are not sent: they are the server's words
// in our header.
func TestHTTPRedirectCredentials(t *testing.T) {
	var sent []string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/end" {
			sent = r.Header.Values("Authorization")
			return
		}
		http.Redirect(w, r, "http://user:secret@"+r.Host+"/end", http.StatusFound)
	})
	if _, err := send(t, loopback, nil, object{"url": s.URL}); err != nil {
		t.Fatal(err)
	}
	if len(sent) > 0 {
		t.Errorf("sent %d Authorization headers", len(sent))
	}
}

// TestHTTPRebinding resolves one name to an allowed address first and to a
// forbidden one afterwards, on the next task and in the middle of a redirect.
func TestHTTPRebinding(t *testing.T) {
	var queries, calls atomic.Int32
	resolver := dnsServer(t, func() [4]byte {
		if queries.Add(1)%2 == 1 {
			return [4]byte{127, 0, 0, 1}
		}
		return [4]byte{127, 0, 0, 2}
	})
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		if r.URL.Path == "/again" {
			http.Redirect(w, r, "/", http.StatusFound)
		}
	})
	port := s.URL[strings.LastIndexByte(s.URL, ':'):]
	only := prefixes("127.0.0.1/32")
	if _, err := send(t, only, resolver, object{"url": "http://rebind.test" + port + "/"}); err != nil {
		t.Fatal(err)
	}
	_, err := send(t, only, resolver, object{"url": "http://rebind.test" + port + "/"})
	requireCode(t, err, CodeAddressNotAllowed, true)
	_, err = send(t, only, resolver, object{"url": "http://rebind.test" + port + "/again"})
	requireCode(t, err, CodeAddressNotAllowed, true)
	if n := calls.Load(); n != 2 {
		t.Errorf("%d requests arrived, want 2", n)
	}
}

// dnsServer answers questions for IPv4 addresses with what answer says, and
// has no address of another kind. It returns a resolver that asks it.
func dnsServer(t *testing.T, answer func() [4]byte) *net.Resolver {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			end := 12 // of the one question: labels, a zero, type and class
			for end < n && buf[end] != 0 {
				end += int(buf[end]) + 1
			}
			end += 5
			if end > n {
				continue
			}
			msg := append([]byte{}, buf[:end]...)
			binary.BigEndian.PutUint16(msg[2:], 0x8180) // an answer, no error
			binary.BigEndian.PutUint16(msg[10:], 0)     // nothing additional
			if binary.BigEndian.Uint16(msg[end-4:]) == 1 {
				binary.BigEndian.PutUint16(msg[6:], 1)
				ip := answer()
				msg = append(msg, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
				msg = append(msg, ip[:]...)
			}
			if _, err := conn.WriteTo(msg, from); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func TestHTTPNetworkErrors(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	broken := serve(t, func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) })
	short := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.Write([]byte("x"))
	})
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	headers := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("a", 2*maxHeaderSize))
	})
	nowhere := dnsServer(t, func() [4]byte { return [4]byte{} })
	for name, tt := range map[string]struct{ url, message string }{
		"refused":      {gone.URL, "no connection could be made"},
		"broken":       {broken.URL, "the connection broke, or the answer was not HTTP"},
		"short":        {short.URL, "the connection broke, or the answer was not HTTP"},
		"headers":      {headers.URL, "the connection broke, or the answer was not HTTP"},
		"certificate":  {secure.URL, "no secure connection could be made, or the certificate is not trusted"},
		"not TLS":      {strings.Replace(broken.URL, "http:", "https:", 1), "no secure connection could be made, or the certificate is not trusted"},
		"unknown name": {"http://" + strings.Repeat("a", 64) + ".test/", "the name of the host could not be resolved"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := send(t, loopback, nowhere, object{"url": tt.url + "/?key=secret"})
			requireCode(t, err, "unreachable", false)
			if te, _ := errors.AsType[*morningai.TaskError](err); te.Message != tt.message {
				t.Errorf("message %q, want %q", te.Message, tt.message)
			}
		})
	}
}

func TestHTTPCancel(t *testing.T) {
	arrived := make(chan struct{})
	release := make(chan struct{})
	s := serve(t, func(http.ResponseWriter, *http.Request) { close(arrived); <-release })
	t.Cleanup(func() { close(release) })
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	g, _ := newGuard(loopback)
	_, err := newCaller(g, nil).handle(ctx, httpTask(t, `{"url":"`+s.URL+`"}`))
	if err != context.Canceled {
		t.Errorf("error %v, want context.Canceled", err)
	}
}
