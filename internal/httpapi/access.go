package httpapi

import (
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// access decides who may call a route. With tokens, a request needs one of a
// sufficient scope. Without, only this machine's own programs may ask, and no
// web page: a browser names the page's origin, and a name rebound to loopback
// shows in the Host header.
type access struct {
	tokens *Tokens
	remote bool // without tokens, take requests from anywhere
}

// check returns the name of the caller's token, "" without tokens.
func (a access) check(w http.ResponseWriter, r *http.Request, need Scope) (string, error) {
	switch {
	case need == scopeOpen:
		return "", nil
	case a.tokens != nil:
		return a.bearer(w, r, need)
	}
	if !a.remote {
		if err := local(r); err != nil {
			return "", err
		}
	}
	return "", sameOrigin(r)
}

const realm = `Bearer realm="morningai"`

func (a access) bearer(w http.ResponseWriter, r *http.Request, need Scope) (string, error) {
	presented := r.Header.Values("Authorization")
	if len(presented) == 0 {
		w.Header().Set("WWW-Authenticate", realm)
		return "", refusal(codeUnauthenticated, "a token is needed", "send it in the header Authorization: Bearer TOKEN")
	}
	scheme, value, _ := strings.Cut(presented[0], " ")
	caller, known := a.tokens.find(strings.TrimSpace(value))
	if !known || len(presented) > 1 || !strings.EqualFold(scheme, "Bearer") {
		w.Header().Set("WWW-Authenticate", realm+`, error="invalid_token"`)
		return "", refusal(codeUnauthenticated, "the token is not known", "")
	}
	if caller.scope < need {
		w.Header().Set("WWW-Authenticate", realm+`, error="insufficient_scope", scope="`+need.String()+`"`)
		return "", refusal(codeForbidden, "this needs a token with the scope "+need.String(), "")
	}
	return caller.name, nil
}

// local refuses requests that are not addressed to loopback, and connections
// that did not come in there.
func local(r *http.Request) error {
	if !isLoopback(hostOf(r.Host)) {
		return refusal(codeForbidden, "the Host header must name a loopback address",
			"ask at http://127.0.0.1, or give the server a token file")
	}
	if at, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		if host, _, err := net.SplitHostPort(at.String()); err == nil && !isLoopback(host) {
			return refusal(codeForbidden, "without tokens the server answers on loopback addresses only",
				"give the server a token file")
		}
	}
	return nil
}

// hostOf takes the host out of a Host header; "" if it is not in the form of
// RFC 9110, section 7.2.
func hostOf(header string) string {
	u, err := url.Parse("http://" + header)
	if err != nil || u.Host != header || strings.Count(u.Hostname(), ":") > 0 != strings.HasPrefix(header, "[") {
		return ""
	}
	if _, err := strconv.ParseUint(u.Port(), 10, 16); err != nil && u.Port() != "" {
		return ""
	}
	return u.Hostname()
}

// sameOrigin refuses what a browser sends for a page of another origin. Reading
// is no exception: answers may be expensive, and timing tells things. Following
// a link is one.
func sameOrigin(r *http.Request) error {
	safe := r.Method == http.MethodGet || r.Method == http.MethodHead
	foreign := false
	for _, origin := range r.Header.Values("Origin") {
		foreign = foreign || origin != "" && !strings.EqualFold(origin, "http://"+r.Host) && !strings.EqualFold(origin, "https://"+r.Host)
	}
	for _, site := range r.Header.Values("Sec-Fetch-Site") {
		switch site {
		case "", "same-origin", "none":
		default:
			foreign = foreign || !safe || r.Header.Get("Sec-Fetch-Mode") != "navigate"
		}
	}
	if foreign {
		return refusal(codeForbidden, "web pages of other origins may not ask", "")
	}
	return nil
}
