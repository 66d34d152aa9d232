package redis_test

import (
	"slices"
	"testing"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
)

// TestSparseList: tasks that are far apart are found without a script that
// keeps all others waiting, and a page is as full as one of tasks side by side.
func TestSparseList(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	e := open(t, server.URL())
	var want []morningai.ID
	for range 24 {
		list := specs(500)
		for i := 100; i < len(list); i += 250 {
			list[i].Queue = "rare"
			want = append(want, list[i].ID)
		}
		enqueue(t, e, list)
	}
	slices.Reverse(want)
	most, now, calls := 0, 0, 0
	stop := server.Monitor(func(from string, words []string) {
		switch {
		case from != "lua":
			now = 0
			calls++
		case words[0] == "HMGET" && words[1] == "mai:{0}:tasks":
			now += len(words) - 2
			most = max(most, now)
		}
	})
	var got []morningai.ID
	for f := (morningai.Filter{Queue: "rare", Limit: 40}); ; {
		page, err := e.List(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Tasks) < min(40, len(want)-len(got)) {
			t.Fatalf("a page of %d tasks", len(page.Tasks))
		}
		for _, task := range page.Tasks {
			got = append(got, task.ID)
		}
		if f.Cursor = page.Next; f.Cursor == "" {
			break
		}
	}
	stop()
	if !slices.Equal(got, want) {
		t.Fatalf("%d tasks listed, want %d in order", len(got), len(want))
	}
	if most > 2500 || most == 0 {
		t.Errorf("one call looked at %d records of 12,000, in %d calls", most, calls)
	}
}
