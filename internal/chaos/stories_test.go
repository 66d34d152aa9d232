package chaos

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestStories stages scenarios with servers, names, orders or limits of their own:
// every promise is kept, and what is staged is felt.
func TestStories(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"cluster-part", "peers", "poison", "journal-full", "name-gone", "script-flush",
		"commands", "pauses", "unique-keys", "exclusive", "question", "wrong-database", "unfit-at-start", "key-overwritten", "disk-full", "sync-failed", "disk-image"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := config(t)
			c.Scenarios = []string{name}
			results, err := Run(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			r := results[0]
			if r.Failed() || r.Skipped != "" || r.Accepted == 0 || strings.HasPrefix(r.Void, "no client") {
				t.Errorf("the result is %+v", r)
			}
			if (r.Refused > 0) != (name == "journal-full" || name == "disk-full") {
				t.Errorf("%d requests were refused", r.Refused)
			}
			if !slices.Contains([]string{"journal-full", "exclusive", "wrong-database", "sync-failed", "disk-image"}, name) && r.Repeated > 0 {
				t.Errorf("%d tasks ran twice", r.Repeated)
			}
		})
	}
}

// TestCannotBeStaged: what a machine cannot stage is skipped, and says why.
func TestCannotBeStaged(t *testing.T) {
	path := t.TempDir() // without unshare
	if err := os.WriteFile(path+"/redis-server", []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", path)
	c := config(t)
	c.Scenarios = []string{"name-gone", "redis-disk-full"}
	results, err := Run(t.Context(), c)
	if err != nil || len(results) != 2 {
		t.Fatalf("%d results, %v", len(results), err)
	}
	if slices.ContainsFunc(results, func(r Result) bool {
		return !strings.Contains(r.Skipped, "mounts of its own") || r.Failed() || r.Void != ""
	}) {
		t.Errorf("the results are %+v", results)
	}
}
