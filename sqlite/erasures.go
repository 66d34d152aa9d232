package sqlite

import (
	"sync"
	"time"

	"github.com/RC918/morningai"
)

// erasures are notes to be erased. They ride in the next commit that is made
// anyway; if none comes the clock makes one. Until then readers do without what
// is on the list.
type erasures struct {
	mu    sync.Mutex
	keys  map[morningai.NoteKey]int64 // by the turn in which they were asked for
	turn  int64                       // raised when a commit takes the list
	since time.Time                   // of the oldest that waits; zero if none does
}

const (
	eraseAfter = 50 * time.Millisecond // how long an erasure waits for a commit
	eraseMax   = batchMax              // how many wait at most
)

// add notes keys. It reports whether the clock has to look at the list: nothing
// was on it, or it has become long.
func (l *erasures) add(keys []morningai.NoteKey) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.keys == nil {
		l.keys = map[morningai.NoteKey]int64{}
	}
	for _, key := range keys {
		l.keys[key] = l.turn
	}
	if len(l.keys) == 0 {
		return false
	}
	first := l.since.IsZero()
	if first {
		l.since = time.Now()
	}
	return first || len(l.keys) >= eraseMax
}

// take returns what a commit has to erase, and the turn to tell done.
func (l *erasures) take() ([]morningai.NoteKey, int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.keys) == 0 {
		return nil, 0
	}
	keys := make([]morningai.NoteKey, 0, len(l.keys))
	for key := range l.keys {
		keys = append(keys, key)
	}
	turn := l.turn
	l.turn++
	return keys, turn
}

// done forgets what a commit has erased. What was asked for again since waits
// for the next one, and what a failed commit took is still there.
func (l *erasures) done(keys []morningai.NoteKey, turn int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range keys {
		if at, ok := l.keys[key]; ok && at <= turn {
			delete(l.keys, key)
		}
	}
	l.since = time.Time{}
	if len(l.keys) > 0 {
		l.since = time.Now()
	}
}

// among returns which of the keys readers must not show.
func (l *erasures) among(keys []morningai.NoteKey) map[morningai.NoteKey]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out map[morningai.NoteKey]bool
	for _, key := range keys {
		if _, ok := l.keys[key]; ok {
			if out == nil {
				out = map[morningai.NoteKey]bool{}
			}
			out[key] = true
		}
	}
	return out
}

// pending returns the keys of a kind that readers must not show.
func (l *erasures) pending(kind morningai.NoteKind) map[morningai.ID]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out map[morningai.ID]bool
	for key := range l.keys {
		if key.Kind == kind {
			if out == nil {
				out = make(map[morningai.ID]bool, len(l.keys))
			}
			out[key.Key] = true
		}
	}
	return out
}

// due is how long from now the clock has to make a commit; ok is false if nothing
// waits. It does not go by the engine's clock, which tests may stop.
func (l *erasures) due() (in time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.since.IsZero() || len(l.keys) >= eraseMax {
		return 0, !l.since.IsZero()
	}
	return time.Until(l.since.Add(eraseAfter)), true
}
