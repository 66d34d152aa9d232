package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/RC918/morningai"
	"github.com/RC918/morningai/internal/redistest"
	"github.com/RC918/morningai/sqlite"
)

// busy produces pairs of tasks and finishes tasks until it is stopped. It returns
// the tasks that were acknowledged before ask was called.
func busy(t *testing.T, e morningai.Engine) (ask func() map[morningai.ID]bool, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	crew := join(t, e, 1)
	var mu sync.Mutex
	known := map[morningai.ID]bool{}
	var work sync.WaitGroup
	work.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			pair := []morningai.TaskSpec{spec(n), spec(n)}
			receipts, err := e.Enqueue(context.WithoutCancel(ctx), pair)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			for _, r := range receipts {
				known[r.Task.ID] = true
			}
			mu.Unlock()
			for _, g := range crew.claim(1) {
				crew.finish(g, morningai.OutcomeSucceeded)
			}
		}
	})
	return func() map[morningai.ID]bool {
			mu.Lock()
			defer mu.Unlock()
			copied := map[morningai.ID]bool{}
			for id := range known {
				copied[id] = true
			}
			return copied
		}, func() {
			cancel()
			work.Wait()
		}
}

// slowly reads on when the producers have gone on.
type slowly struct {
	*sqlite.Engine
	more func()
}

func (s *slowly) Snapshot(ctx context.Context, each func([]morningai.Record) error) error {
	return s.Engine.Snapshot(ctx, func(all []morningai.Record) error {
		s.more()
		return each(all)
	})
}

// While everybody works on: what was acknowledged before is in the backup, each task
// once. From the embedded engine it is all as of one moment, so that tasks which
// were accepted together are in it together.
func TestBackupOfARunningSystem(t *testing.T) {
	for kind, e := range targets(t) {
		t.Run(kind, func(t *testing.T) {
			var first []morningai.TaskSpec
			for n := range morningai.MaxBatch {
				first = append(first, spec(n))
			}
			enqueue(t, e, first...)
			ask, stop := busy(t, e)
			defer stop()
			grown := func(least int) {
				redistest.Until(t, "the producers to go on", func() bool { return len(ask()) >= least })
			}
			grown(20)
			before := ask()
			var b bytes.Buffer
			more := func() { grown(len(ask()) + 20) }
			source := e
			if embedded, ok := e.(*sqlite.Engine); ok {
				source = &slowly{embedded, more}
			}
			m := must[Manifest](t)(Create(t.Context(), Source{Engine: source}, &b))
			if snapshot := m.Consistency == ConsistencySnapshot; snapshot != (kind == "sqlite") {
				t.Errorf("the consistency is %s", m.Consistency)
			}
			seen, succeeded := map[string][]morningai.ID{}, 0
			r := must[*reader](t)(newReader(&b))
			defer r.close()
			if _, err := r.read(t.Context(), nil, func(all []morningai.Record) error {
				for _, r := range all {
					if n := string(r.Task.Payload); r.Task.CreatedAt.After(m.StartedAt.Add(-time.Hour)) {
						seen[n] = append(seen[n], r.Task.ID)
					}
					if r.Task.State == morningai.StateSucceeded {
						succeeded++
					}
					delete(before, r.Task.ID)
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			// One task ends after each pair.
			if pairs := (int(m.Tasks) - morningai.MaxBatch) / 2; kind == "sqlite" && pairs != succeeded && pairs != succeeded+1 {
				t.Errorf("%d pairs had been accepted and %d tasks had ended: that was so at no moment", pairs, succeeded)
			}
			if len(before) > 0 {
				t.Errorf("%d tasks are not in the backup, although they were accepted before it", len(before))
			}
			once := map[morningai.ID]bool{}
			for n, ids := range seen {
				for _, id := range ids {
					if once[id] {
						t.Errorf("the task %s is in the backup twice", id)
					}
					once[id] = true
				}
				var number struct{ N int }
				if err := json.Unmarshal([]byte(n), &number); err != nil {
					t.Fatal(err)
				}
				pair := len(ids)
				if number.N < morningai.MaxBatch {
					pair-- // the one that was there before
				}
				if kind == "sqlite" && pair%2 != 0 {
					t.Errorf("of the tasks with payload %s, which were accepted together, %d are in the backup", n, pair)
				}
			}
		})
	}
}

// What a journal has still to deliver is counted, not passed over in silence.
type fleet struct {
	morningai.Engine
	morningai.Fleet
	left int64
	asks int
}

func (f *fleet) Undelivered(context.Context) (int64, error) {
	f.asks++
	if f.asks > 3 && f.left < 100 {
		f.left = 0
	}
	return f.left, nil
}

func TestUndeliveredEntriesAreWaitedForAndCounted(t *testing.T) {
	for left, want := range map[int64]int64{0: 0, 5: 0, 100: 100} {
		m := must[Manifest](t)(Create(t.Context(), Source{Engine: &fleet{Engine: embedded(t, t.TempDir()), left: left}}, io.Discard))
		if m.Undelivered != want {
			t.Errorf("of %d entries, %d are counted, want %d", left, m.Undelivered, want)
		}
	}
}

func names(t *testing.T, folder string) string {
	t.Helper()
	var all []string
	for _, e := range must[[]os.DirEntry](t)(os.ReadDir(folder)) {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

// A file appears when it is whole; what fails leaves nothing.
func TestWriteFile(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "tasks.backup")
	source := Source{Engine: embedded(t, t.TempDir())}
	write := func(w io.Writer) error {
		if got := names(t, folder); strings.Contains(got, " ") && strings.Contains(got, "tasks.backup ") {
			t.Errorf("while it is written the folder has %s", got)
		}
		_, err := Create(t.Context(), source, w)
		return err
	}
	boom := errors.New("boom")
	for what, c := range map[string]struct {
		write func(io.Writer) error
		want  error
	}{
		"an error": {func(w io.Writer) error { return errors.Join(write(w), boom) }, boom},
		"an end that is missing": {func(w io.Writer) error {
			var b bytes.Buffer
			if err := write(&b); err != nil {
				return err
			}
			_, err := w.Write(b.Bytes()[:b.Len()-1])
			return err
		}, ErrDamaged},
	} {
		if _, err := WriteFile(t.Context(), path, false, nil, c.write); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
		if got := names(t, folder); got != "" {
			t.Errorf("%s leaves %s", what, got)
		}
	}
	report := must[*Report](t)(WriteFile(t.Context(), path, false, someKey, write)) // signed here
	if !report.Trusted || names(t, folder) != "tasks.backup" {
		t.Errorf("the report is %+v, the folder has %s", report, names(t, folder))
	}
	if info := must[os.FileInfo](t)(os.Stat(path)); info.Mode().Perm() != 0o600 {
		t.Errorf("others may read the file: %v", info.Mode())
	}
	before := must[[]byte](t)(os.ReadFile(path))
	if _, err := WriteFile(t.Context(), path, false, nil, write); !errors.Is(err, morningai.ErrConflict) || !bytes.Equal(must[[]byte](t)(os.ReadFile(path)), before) {
		t.Errorf("a file that is there: %v", err)
	}
	if report := must[*Report](t)(WriteFile(t.Context(), path, true, nil, write)); report.Signed || names(t, folder) != "tasks.backup" {
		t.Errorf("to replace it: %+v, %s", report, names(t, folder))
	}
	if _, err := WriteFile(t.Context(), filepath.Join(folder, "none", "file"), false, nil, write); err == nil {
		t.Error("a folder that is not there is made")
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// A keeper makes a backup when the newest is old enough, keeps so many, and leaves
// the files of others alone.
func TestKeeper(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "backups")
	source := Source{Engine: embedded(t, t.TempDir()), Key: someKey}
	at := func(ago time.Duration) string {
		return namePrefix + time.Now().Add(-ago).UTC().Format(nameTime) + nameSuffix
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	foreign := []string{"morningai-mine.backup", "other", "." + namePrefix + "fresh" + partSuffix}
	stale := "." + namePrefix + "stale" + partSuffix
	for _, name := range append([]string{at(3 * time.Hour), at(2 * time.Hour), at(90 * time.Minute), stale}, foreign...) {
		if err := os.WriteFile(filepath.Join(folder, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-2 * partAge)
	if err := os.Chtimes(filepath.Join(folder, stale), long, long); err != nil {
		t.Fatal(err)
	}
	k := must[*Keeper](t)(NewKeeper(Schedule{folder, time.Hour, 2}, source, quiet()))
	if age := time.Since(k.Status().LastAt); age < 89*time.Minute || age > 91*time.Minute {
		t.Errorf("the newest is %s old", age)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.Run(ctx)
	}()
	redistest.Until(t, "a backup, since the newest is too old", func() bool { return k.Status().Made == 1 })
	redistest.Until(t, "the next one to be planned", func() bool { return k.Status().Next.After(time.Now().Add(59 * time.Minute)) })
	cancel()
	<-done
	st := k.Status()
	if must[*Report](t)(VerifyFile(t.Context(), st.Path, someKey)); st.Bytes == 0 || st.Failed != nil {
		t.Errorf("the status is %+v", st)
	}
	if all := must[[]stored](t)(k.list()); len(all) != 2 || all[1].path != st.Path {
		t.Errorf("these stay: %+v", all)
	}
	for _, name := range foreign {
		if !strings.Contains(names(t, folder), name) {
			t.Errorf("%s, which is somebody else's, is gone", name)
		}
	}
	if strings.Contains(names(t, folder), stale) {
		t.Error("what a killed process has left stays for ever")
	}
	// After a start, the next one is due an hour after that.
	k = must[*Keeper](t)(NewKeeper(Schedule{folder, time.Hour, 2}, source, quiet()))
	if wait := k.untilNext(time.Now()); wait < 59*time.Minute || wait > time.Hour {
		t.Errorf("after a start the next backup is due in %s", wait)
	}
}

// A backup that fails is told, the ones that are there stay, and it is tried again.
func TestKeeperGoesOnAfterAFailure(t *testing.T) {
	folder := t.TempDir()
	broken := &breaking{Engine: embedded(t, t.TempDir())}
	k := must[*Keeper](t)(NewKeeper(Schedule{folder, time.Second, 1}, Source{Engine: broken}, quiet()))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.Run(ctx)
	}()
	redistest.Until(t, "a backup", func() bool { return k.Status().Made > 0 })
	broken.set(errDisk)
	redistest.Until(t, "a failure", func() bool { return errors.Is(k.Status().Failed, errDisk) && k.Status().Fails > 0 })
	if st := k.Status(); st.LastAt.IsZero() || st.Since.IsZero() || names(t, folder) != filepath.Base(st.Path) {
		t.Errorf("after a failure the status is %+v and the folder has %s", st, names(t, folder))
	}
	made := k.Status().Made
	broken.set(nil)
	redistest.Until(t, "a backup again", func() bool { return k.Status().Made > made && k.Status().Failed == nil })
	cancel()
	<-done
}

// Old backups that cannot be removed are told until they can be, and do not have new
// ones made any sooner: these would fill the disk.
func TestKeeperCannotRemove(t *testing.T) {
	folder := t.TempDir()
	old := filepath.Join(folder, namePrefix+time.Now().Add(-2*time.Hour).UTC().Format(nameTime)+nameSuffix)
	if err := os.WriteFile(old, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	k := must[*Keeper](t)(NewKeeper(Schedule{folder, time.Hour, 1}, Source{Engine: embedded(t, t.TempDir())}, quiet()))
	k.remove = func(string) error { return errDisk }
	for n := range int64(3) {
		k.note(k.make(t.Context()))
		st := k.Status()
		if st.Made != 1 || st.Fails != n+1 || !errors.Is(st.Failed, errDisk) || st.Since.IsZero() || st.Path == old {
			t.Errorf("after %d tries the status is %+v", n+1, st)
		}
		if wait := k.untilNext(time.Now()); wait > retryAfter {
			t.Errorf("the next try is %s away", wait)
		}
	}
	if all := must[[]stored](t)(k.list()); len(all) != 2 {
		t.Errorf("these are there: %+v", all)
	}
	k.remove = os.Remove
	k.note(k.make(t.Context()))
	if st := k.Status(); st.Failed != nil || !st.Since.IsZero() || names(t, folder) != filepath.Base(st.Path) {
		t.Errorf("once it can be removed, the status is %+v and the folder has %s", st, names(t, folder))
	}
}

type breaking struct {
	morningai.Engine
	mu  sync.Mutex
	err error
}

func (b *breaking) set(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

func (b *breaking) Stats(ctx context.Context) (morningai.Stats, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return morningai.Stats{}, b.err
	}
	return b.Engine.Stats(ctx)
}

func TestScheduleIsChecked(t *testing.T) {
	for _, s := range []Schedule{{Every: time.Millisecond, Keep: 1}, {Every: time.Hour}} {
		s.Folder = t.TempDir()
		if _, err := NewKeeper(s, Source{}, quiet()); !errors.Is(err, morningai.ErrInvalidInput) {
			t.Errorf("%+v: %v", s, err)
		}
	}
}
