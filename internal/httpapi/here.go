package httpapi

import (
	"net/http"
	"strings"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/wire"
)

var hereParam = param{name: wire.HereHeader, header: true, enum: []string{"true"},
	doc: "answer from what this server itself has accepted, without asking Redis or another server. Servers ask each other so"}

// reads reports whether the route answers questions about what is stored.
func (rt route) reads() bool {
	return rt.method == http.MethodGet && (strings.HasPrefix(rt.path, "/v1/") || strings.HasPrefix(rt.path, "/api/"))
}

// claims reports whether the route is one that workers use.
func (rt route) claims() bool { return strings.HasPrefix(rt.path, "/v1/claims") }

// onlyHere gives a request that asks for it a context that stays on this node.
func onlyHere(r *http.Request) (*http.Request, error) {
	given := r.Header.Values(wire.HereHeader)
	switch {
	case len(given) == 0:
		return r, nil
	case len(given) > 1 || given[0] != "true":
		return nil, wrongField("header."+wire.HereHeader, "must be true, or absent")
	}
	return r.WithContext(morningai.OnlyHere(r.Context())), nil
}

// only refuses what would change something where the server takes no orders.
func (rt route) only(a *api) error {
	if !a.onlyAsk || rt.method == http.MethodGet || rt.claims() {
		return nil
	}
	return refusal(morningai.CodeWrongState, "this server runs tasks and takes no orders", "ask a server with the role all or api")
}
