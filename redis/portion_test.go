package redis_test

import (
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/redis"
)

// A server that closes connections for which much data waits is asked for less
// at a time; what alone is too much is said.
func TestLargeRepliesAreReadInPortions(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--client-output-buffer-limit", "normal 1048576 0 0")
	e := open(t, server.URL())
	list := specs(16)
	var ids []morningai.ID
	for i := range list {
		list[i].Payload = json.RawMessage(`"` + strings.Repeat("x", 500_000) + `"`)
		ids = append(ids, list[i].ID)
		enqueue(t, e, list[i:i+1])
	}
	got, err := e.Get(t.Context(), morningai.GetRequest{IDs: ids})
	if err != nil || len(got) != len(ids) || len(got[15].Payload) != 500_002 {
		t.Errorf("Get: %d tasks, %v", len(got), err)
	}
	page, err := e.List(t.Context(), morningai.Filter{Limit: 1000})
	if err != nil || len(page.Tasks) != len(ids) {
		t.Errorf("List: %d tasks, %v", len(page.Tasks), err)
	}
	out, err := e.Export(t.Context(), "", 0)
	for err == nil && out.Next != "" {
		var more morningai.ExportPage
		more, err = e.Export(t.Context(), out.Next, 0)
		out = morningai.ExportPage{Records: append(out.Records, more.Records...), Next: more.Next}
	}
	if err != nil || len(out.Records) != len(ids) {
		t.Errorf("Export: %d records, %v", len(out.Records), err)
	}
	server.Do("CONFIG", "SET", "client-output-buffer-limit", "normal 100000 0 0")
	if _, err := e.Get(t.Context(), morningai.GetRequest{IDs: ids[:1]}); !errors.Is(err, redis.ErrUnavailable) || !strings.Contains(err.Error(), "client-output-buffer-limit") {
		t.Errorf("of a task that is larger than the limit Get says %v", err)
	}
	if err := e.Probe(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestNamesThatCannotBeLookedUp: a name that does not exist is told from a DNS
// that does not answer.
func TestNamesThatCannotBeLookedUp(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"is unknown":          &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "redis.test", IsNotFound: true}},
		"cannot be looked up": &net.OpError{Op: "dial", Err: &net.DNSError{Err: "read udp: connection refused", Name: "redis.test", IsTemporary: true}},
	} {
		if got := redis.Unavailable(err); !strings.Contains(got.Error(), want) || strings.Contains(got.Error(), "redis.test") {
			t.Errorf("of %v it says %v", err, got)
		}
	}
}
