package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/RC918/morningai/server"
	"github.com/RC918/morningai/sqlite"
)

const (
	spaceLeast  = 1 << 30 // bytes
	syncMost    = 100 * time.Millisecond
	syncs       = 9
	copyAtMost  = 256 << 20 // of a journal, to look into it
	journalName = "journal.db"
)

// lookAtData looks at the folder and its disk.
func (d *doctor) lookAtData(ctx context.Context, s *serverLook) {
	info, err := os.Stat(d.Data)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.ok(dataFolder, d.Data+" is not there yet; the server makes it")
		d.space(firstThere(d.Data))
		d.skip("there is no data folder yet", dataSync)
		return
	case err != nil:
		d.wrong(dataFolder, fmt.Sprintf("%s cannot be read: %v", d.Data, reasonOf(err)), "no server can run on it", "ls -ld "+d.Data)
		d.skip("the data folder cannot be read", dataSpace, dataSync)
		return
	case !info.IsDir():
		d.wrong(dataFolder, d.Data+" is a file", "no server can run on it", "morningai serve --data DIR")
		d.skip("the data folder is a file", dataSpace, dataSync)
		return
	}
	d.space(d.Data)
	took, err := syncTimes(ctx, d.Data)
	if err != nil {
		d.wrong(dataFolder, fmt.Sprintf("%s cannot be written to: %v", d.Data, reasonOf(err)), "no server can run on it", "ls -ld "+d.Data+"; df -h "+d.Data)
		d.skip("the data folder cannot be written to", dataSync)
		return
	}
	d.ok(dataFolder, d.Data)
	slices.Sort(took)
	median := took[len(took)/2]
	seen := fmt.Sprintf("%d writes of 4 KiB, each confirmed after %s (median), %s (worst)", len(took), median.Round(10*time.Microsecond), took[len(took)-1].Round(10*time.Microsecond))
	if median > syncMost {
		d.wrong(dataSync, seen, "every task waits for that long; move the folder to a faster disk, or see what keeps this one busy", "iostat -x 1 5")
		return
	}
	d.ok(dataSync, seen)
}

// space looks at what is free on the disk of the folder.
func (d *doctor) space(folder string) {
	free := sqlite.FreeSpace(folder)
	switch {
	case free < 0:
		d.unknown(dataSpace, "the free space is not known", "df -h "+folder)
	case free < spaceLeast:
		d.wrong(dataSpace, size(float64(free))+" free", "when the disk is full, tasks are refused (507 storage_full); free some, or move the folder", "df -h "+folder+"; du -sh "+folder+"/*")
	default:
		d.ok(dataSpace, size(float64(free))+" free")
	}
}

// firstThere is the closest folder above that exists.
func firstThere(folder string) string {
	for {
		if _, err := os.Stat(folder); err == nil || filepath.Dir(folder) == folder {
			return folder
		}
		folder = filepath.Dir(folder)
	}
}

// reasonOf is an error of the file system without the path.
func reasonOf(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

// syncTimes writes to a scratch file and measures how long the disk takes to
// confirm.
func syncTimes(ctx context.Context, folder string) (took []time.Duration, err error) {
	f, err := os.CreateTemp(folder, ".doctor-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	page := make([]byte, 4096)
	for range syncs {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		began := time.Now()
		if _, err := f.Write(page); err != nil {
			return nil, err
		}
		if err := f.Sync(); err != nil {
			return nil, err
		}
		took = append(took, time.Since(began))
	}
	return took, nil
}

// lookAtJournal asks the server about its journal, or looks into that of one
// that does not run.
func (d *doctor) lookAtJournal(ctx context.Context, s *serverLook) {
	if s.answers() {
		d.runningJournal(ctx, s)
		return
	}
	path := filepath.Join(d.Data, journalName)
	bytes := filesSize(path)
	if bytes == 0 {
		d.skip("the data folder holds no journal", journalSize, journalAge)
		return
	}
	d.ok(journalSize, size(float64(bytes)))
	if bytes > copyAtMost {
		d.unknown(journalAge, "it is too large to be copied and looked into", "morningai journal list --data "+d.Data)
		return
	}
	entries, err := copiedEntries(ctx, d.Data)
	if err != nil {
		detail, hint := worded(err)
		d.unknown(journalAge, "it cannot be looked into: "+detail, hint)
		return
	}
	var left int
	var oldest time.Time
	for i := range entries {
		e := &entries[i]
		if e.Where != "journal" && e.Where != "in doubt" {
			continue
		}
		left++
		if !e.At.IsZero() && (oldest.IsZero() || e.At.Before(oldest)) {
			oldest = e.At
		}
	}
	if left == 0 {
		d.ok(journalAge, "nothing that Redis has still to get")
		return
	}
	seen := fmt.Sprintf("%d entries that Redis may not have", left)
	if !oldest.IsZero() { // settings of queues, say, do not tell when they were made
		seen += fmt.Sprintf(", the oldest %s old", time.Since(oldest).Round(time.Second))
	}
	d.wrong(journalAge, seen, "nobody delivers them while the server does not run: start it again, or deliver them from the folder",
		"morningai serve --data "+d.Data+"; or morningai journal drain --data "+d.Data)
}

func (d *doctor) runningJournal(ctx context.Context, s *serverLook) {
	j := s.health.Journal
	if j == nil {
		d.skip("the server keeps no journal", journalSize, journalAge)
		return
	}
	seen := size(float64(j.Bytes))
	if j.Limit > 0 {
		seen += " of " + size(float64(j.Limit))
	}
	if j.Limit > 0 && float64(j.Bytes) > fullAt*float64(j.Limit) {
		d.wrong(journalSize, seen, "at its limit no task is accepted (507 storage_full): bring Redis back, or raise the limit", "morningai serve --journal-limit 16GiB")
	} else {
		d.ok(journalSize, seen)
	}
	seen = fmt.Sprintf("%d entries that Redis has still to get", j.Entries)
	if j.Entries == 0 || s.health.Redis.Status == "up" && !stalled(ctx, s) {
		d.ok(journalAge, seen)
		return
	}
	d.wrong(journalAge, seen, "they are on this server's disk alone until Redis has them", "morningai incident list; morningai node list")
}

// stalled asks the server again whether anything is left to be delivered though
// Redis is there.
func stalled(ctx context.Context, s *serverLook) bool {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	h, err := s.client.Health(ctx)
	return err == nil && h.Journal != nil && h.Journal.Entries >= s.health.Journal.Entries
}

func filesSize(path string) (sum int64) {
	for _, suffix := range []string{"", "-wal"} {
		if info, err := os.Stat(path + suffix); err == nil {
			sum += info.Size()
		}
	}
	return sum
}

// copiedEntries looks into a copy of the journal: opening the journal itself
// would change it.
func copiedEntries(ctx context.Context, folder string) (_ []server.JournalEntry, err error) {
	release, err := sqlite.Hold(filepath.Join(folder, journalName))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	temp, err := os.MkdirTemp("", "morningai-doctor-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	for _, suffix := range []string{"", "-wal"} {
		data, err := os.ReadFile(filepath.Join(folder, journalName+suffix))
		if errors.Is(err, fs.ErrNotExist) && suffix != "" {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(temp, journalName+suffix), data, 0o600); err != nil {
			return nil, err
		}
	}
	return server.JournalEntries(ctx, temp)
}
