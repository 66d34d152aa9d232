package httpapi

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/RC918/morningai"
)

func request(method, host string, header ...string) *http.Request {
	r := httptest.NewRequest(method, "/v1/tasks", nil)
	r.Host = host
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

func TestAccessWithoutTokens(t *testing.T) {
	for _, c := range []struct {
		name string
		r    *http.Request
		ok   bool
	}{
		{"program", request("POST", "127.0.0.1:8080"), true},
		{"program by name", request("POST", "localhost:8080"), true},
		{"program, IPv6", request("POST", "[::1]:8080"), true},
		{"no port", request("GET", "[::1]"), true},
		{"rebound name", request("POST", "evil.example:8080"), false},
		{"rebound name, read", request("GET", "evil.example:8080"), false},
		{"loopback as a prefix", request("GET", "127.0.0.1.evil.example"), false},
		{"IPv6 without brackets", request("GET", "::1"), false},
		{"half a bracket", request("GET", "[::1"), false},
		{"IPv4 in brackets", request("GET", "[127.0.0.1]:8080"), false},
		{"a port that is none", request("GET", "127.0.0.1:evil"), false},
		{"a port too high", request("GET", "127.0.0.1:99999"), false},
		{"a zone", request("GET", "[fe80::1%25lo]:8080"), false},
		{"user before the host", request("GET", "evil@127.0.0.1"), false},
		{"path behind the host", request("GET", "127.0.0.1/x"), false},
		{"no host", request("GET", ""), false},
		{"another machine", request("GET", "192.168.1.7:8080"), false},
		{"own page", request("POST", "127.0.0.1:8080", "Origin", "http://127.0.0.1:8080", "Sec-Fetch-Site", "same-origin"), true},
		{"address bar", request("GET", "127.0.0.1:8080", "Sec-Fetch-Site", "none"), true},
		{"other page", request("POST", "127.0.0.1:8080", "Origin", "https://evil.example"), false},
		{"other page reads", request("GET", "127.0.0.1:8080", "Origin", "https://evil.example"), false},
		{"other port", request("POST", "127.0.0.1:8080", "Origin", "http://127.0.0.1:3000"), false},
		{"page behind TLS", request("POST", "127.0.0.1:8080", "Origin", "https://127.0.0.1:8080"), true},
		{"extension", request("POST", "127.0.0.1:8080", "Origin", "moz-extension://127.0.0.1:8080"), false},
		{"not an origin", request("POST", "127.0.0.1:8080", "Origin", "http://me@127.0.0.1:8080"), false},
		{"own page and another", request("POST", "127.0.0.1:8080", "Origin", "http://127.0.0.1:8080", "Origin", "https://evil.example"), false},
		{"two sites", request("POST", "127.0.0.1:8080", "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Site", "cross-site"), false},
		{"opaque origin", request("POST", "127.0.0.1:8080", "Origin", "null"), false},
		{"no origin but cross-site", request("POST", "127.0.0.1:8080", "Sec-Fetch-Site", "cross-site"), false},
		{"same site is not same origin", request("POST", "localhost:8080", "Sec-Fetch-Site", "same-site"), false},
		{"image", request("GET", "localhost:8080", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors"), false},
		{"link", request("GET", "localhost:8080", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"), true},
		{"form", request("POST", "localhost:8080", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"), false},
	} {
		_, err := access{}.check(httptest.NewRecorder(), c.r, ScopeAdmin)
		if c.ok != (err == nil) || !c.ok && morningai.CodeOf(err) != codeForbidden {
			t.Errorf("%s: %v", c.name, err)
		}
		if _, err := (access{}).check(httptest.NewRecorder(), c.r, scopeOpen); err != nil {
			t.Errorf("%s: probes are open: %v", c.name, err)
		}
	}
}

func TestAccessAsksWhereTheConnectionCameIn(t *testing.T) {
	r := request("GET", "127.0.0.1:8080")
	r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 5), Port: 8080}))
	if _, err := (access{}).check(httptest.NewRecorder(), r, ScopeRead); morningai.CodeOf(err) != codeForbidden {
		t.Errorf("from outside: %v", err)
	}
	if _, err := (access{remote: true}).check(httptest.NewRecorder(), r, ScopeRead); err != nil {
		t.Errorf("from outside where that is allowed: %v", err)
	}
	page := request("POST", "box.example:8080", "Origin", "https://evil.example")
	if _, err := (access{remote: true}).check(httptest.NewRecorder(), page, ScopeRead); morningai.CodeOf(err) != codeForbidden {
		t.Errorf("a web page where everyone is allowed: %v", err)
	}
}

func TestAccessWithTokens(t *testing.T) {
	tokens, err := readTokens(strings.NewReader("read " + readToken + "\nsubmit " + submitToken + " ci\nadmin " + adminToken))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		header []string
		need   Scope
		code   morningai.Code
		says   string
	}{
		{nil, ScopeRead, codeUnauthenticated, `Bearer realm="morningai"`},
		{[]string{"Bearer nonsense"}, ScopeRead, codeUnauthenticated, "invalid_token"},
		{[]string{"Bearer "}, ScopeRead, codeUnauthenticated, "invalid_token"},
		{[]string{"Basic " + readToken}, ScopeRead, codeUnauthenticated, "invalid_token"},
		{[]string{readToken}, ScopeRead, codeUnauthenticated, "invalid_token"},
		{[]string{"Bearer " + readToken, "Bearer " + readToken}, ScopeRead, codeUnauthenticated, "invalid_token"},
		{[]string{"Bearer " + readToken}, ScopeRead, "", ""},
		{[]string{"bearer  " + readToken}, ScopeRead, "", ""},
		{[]string{"Bearer " + readToken}, ScopeSubmit, codeForbidden, `scope="submit"`},
		{[]string{"Bearer " + submitToken}, ScopeRead, "", ""},
		{[]string{"Bearer " + submitToken}, ScopeSubmit, "", ""},
		{[]string{"Bearer " + submitToken}, ScopeAdmin, codeForbidden, `scope="admin"`},
		{[]string{"Bearer " + adminToken}, ScopeAdmin, "", ""},
		{nil, scopeOpen, "", ""},
	} {
		// A token opens the door from everywhere.
		r := request("POST", "tasks.example", "Origin", "https://other.example")
		for _, v := range c.header {
			r.Header.Add("Authorization", v)
		}
		w := httptest.NewRecorder()
		who, err := access{tokens: tokens}.check(w, r, c.need)
		if morningai.CodeOf(err) != c.code || !strings.Contains(w.Header().Get("WWW-Authenticate"), c.says) {
			t.Errorf("%q for %s: %v, %q", c.header, c.need, err, w.Header().Get("WWW-Authenticate"))
		}
		if c.code == "" && strings.Contains(strings.Join(c.header, ""), submitToken) && who != "ci" {
			t.Errorf("known as %q", who)
		}
	}
}
