package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/RC918/morningai"
)

var (
	someKey  = bytes.Repeat([]byte{7}, 32)
	otherKey = bytes.Repeat([]byte{8}, 32)
)

// refused says whether a file is refused by all that read it, with the right code,
// before a target is even opened.
func refused(t *testing.T, data, key []byte, codes ...error) bool {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	_, verified := VerifyFile(t.Context(), path, key)
	_, restored := Restore(t.Context(), path, key, func(context.Context, *Report) (Target, error) {
		t.Error("a target is opened for a file that is not good")
		return Target{}, errors.New("opened")
	})
	for _, code := range codes {
		if errors.Is(verified, code) && errors.Is(restored, code) {
			return true
		}
	}
	t.Logf("verify says %v, restore %v", verified, restored)
	return false
}

func smallBackup(t *testing.T, key []byte) []byte {
	t.Helper()
	e := embedded(t, t.TempDir())
	fill(t, e)
	return must[[]byte](t)(os.ReadFile(saved(t, e, key)))
}

// Each byte counts, and in it each bit, with and without a signature, whether the key is known or not.
func TestEveryBitIsCovered(t *testing.T) {
	for name, keys := range map[string][2][]byte{"unsigned": {nil, nil}, "signed, key unknown": {someKey, nil}, "signed": {someKey, someKey}} {
		t.Run(name, func(t *testing.T) {
			data := smallBackup(t, keys[0])
			for at := range data {
				for _, bit := range []int{at % 8, (at + 3) % 8} {
					data[at] ^= 1 << bit
					r := must[*reader](t)(newReader(bytes.NewReader(data)))
					_, err := r.read(t.Context(), keys[1], func([]morningai.Record) error { return nil })
					r.close()
					if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrUntrusted) {
						t.Errorf("bit %d of byte %d of %d is changed, and the answer is %v", bit, at, len(data), err)
					}
					data[at] ^= 1 << bit
				}
			}
			for _, at := range []int{0, 9, 20, len(data) / 2, len(data) - 40, len(data) - 1} { // all the way through a restore
				data[at] ^= 4
				if !refused(t, data, keys[1], ErrDamaged, ErrUntrusted) {
					t.Errorf("byte %d of %d is changed, and the file is not refused", at, len(data))
				}
				data[at] ^= 4
			}
		})
	}
}

func TestCutOffAndExtended(t *testing.T) {
	data := smallBackup(t, someKey)
	for n := range data {
		r := must[*reader](t)(newReader(bytes.NewReader(data[:n])))
		_, err := r.read(t.Context(), nil, func([]morningai.Record) error { return nil })
		r.close()
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("the first %d of %d bytes: %v", n, len(data), err)
		}
	}
	for _, n := range []int{0, 3, len(data) / 2, len(data) - 1} {
		if !refused(t, data[:n], nil, ErrDamaged) {
			t.Errorf("the first %d of %d bytes are not refused", n, len(data))
		}
	}
	for what, more := range map[string][]byte{"a byte": {0}, "itself": data} {
		if !refused(t, append(bytes.Clone(data), more...), nil, ErrDamaged) {
			t.Errorf("a backup with %s after its end is not refused", what)
		}
	}
	for what, foreign := range map[string][]byte{"text": []byte("hello\n"), "zstd": zstdOf(t, make([]byte, 1<<20)), "SQLite": append([]byte("SQLite format 3\x00"), data...)} {
		if !refused(t, foreign, nil, ErrDamaged) {
			t.Errorf("%s is taken for a backup", what)
		}
	}
}

func zstdOf(t *testing.T, plain []byte) []byte {
	t.Helper()
	w := must[*zstd.Encoder](t)(zstd.NewWriter(nil))
	defer w.Close()
	return w.EncodeAll(plain, nil)
}

func TestNewerFormatIsNamed(t *testing.T) {
	data := smallBackup(t, nil)
	binary.BigEndian.PutUint16(data[len(magic):], Format+1)
	binary.BigEndian.PutUint32(data[headerSize-4:], crc32.Checksum(data[:headerSize-4], castagnoli))
	if !refused(t, data, nil, morningai.ErrNewerFormat) {
		t.Error("a newer format is not refused as one")
	}
}

// forged is a file that is right in all but what make writes: whoever forges one
// knows how checksums are made.
func forged(t *testing.T, make func(*writer)) []byte {
	t.Helper()
	var b bytes.Buffer
	w := must[*writer](t)(newWriter(&b))
	make(w)
	w.end(nil)
	if w.err != nil {
		t.Fatal(w.err)
	}
	return b.Bytes()
}

// block writes a block that claims to have this size.
func (w *writer) forge(kind byte, plain uint32, data []byte) {
	head := binary.BigEndian.AppendUint32([]byte{kind, zstdData}, uint32(len(data)))
	head = binary.BigEndian.AppendUint32(head, plain)
	w.write(binary.BigEndian.AppendUint32(head, crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, data)))
	w.write(data)
}

// A file that unpacks to more than it says, or to absurdly much, costs no memory.
func TestBombsAreRefused(t *testing.T) {
	bomb := zstdOf(t, make([]byte, 300<<20))
	for what, announced := range map[string]uint32{"what it is": 300 << 20, "the most there may be": maxBlock, "more than a frame of its size": uint32(len(bomb)) * maxRatio * 2,
		"little": 1000, "as much as its size allows": uint32(min(len(bomb)*(maxRatio-1), maxBlock))} {
		data := forged(t, func(w *writer) {
			w.emitJSON(kindQueues, []int{})
			w.emitJSON(kindIncidents, []int{})
			w.forge(kindRecords, announced, bomb)
			w.emitJSON(kindManifest, Manifest{})
		})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		ok := refused(t, data, nil, ErrDamaged)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; !ok || used > 3*uint64(len(bomb))*maxRatio {
			t.Errorf("a bomb that announces %s is refused: %v, for %d MB", what, ok, used>>20)
		}
	}
}

// Text of a few bytes can cost far more as what it stands for: a small file of many
// of them is refused for little memory, too.
func TestBombsOfSmallPartsAreRefused(t *testing.T) {
	repeated := func(item string, bytes int) []byte {
		text := strings.Repeat(","+item, bytes/(len(item)+1))
		return []byte("[" + text[1:] + "]")
	}
	small := func() []byte {
		r := morningai.Record{Task: morningai.Task{ID: morningai.ID{1}, TraceID: morningai.ID{1}, Type: "w", Queue: "q", State: morningai.StateQueued,
			MaxAttempts: 1, Timeout: 1e9, Payload: []byte("1"), Life: 1, Version: 1}}
		packed := must[[]byte](t)(r.AppendBinary(nil))
		return bytes.Repeat(append(binary.AppendUvarint(nil, uint64(len(packed))), packed...), 100<<20/len(packed))
	}
	padded := func(text []byte) []byte { // so that it does not unpack to too much of itself
		out := zstdOf(t, text)
		fill := max(len(text)/(maxRatio-1)-len(out), 0)
		out = binary.LittleEndian.AppendUint32(out, 0x184d2a50) // a frame that readers skip
		return append(binary.LittleEndian.AppendUint32(out, uint32(fill)), make([]byte, fill)...)
	}
	const report = `{"ID":"01a21a7f-4b2d-7c0b-ad26-759cfcb80e00","StartedAt":"2026-11-27T00:00:00Z"}`
	none := []byte("[]")
	for what, parts := range map[string][3][]byte{
		"many empty queues":  {repeated("{}", 60<<20), none, nil},
		"many queues":        {repeated(`{"Name":"a"}`, 60<<20), none, nil},
		"queues without end": {repeated(`{"Name":"a"}`, 200<<20), none, nil},
		"many empty reports": {none, repeated("{}", 200<<20), nil},
		"many reports":       {none, repeated(report, 100<<20), nil},
		"many tasks at once": {none, none, small()},
	} {
		data := forged(t, func(w *writer) {
			for i, kind := range []byte{kindQueues, kindIncidents, kindRecords} {
				if parts[i] != nil {
					w.forge(kind, uint32(len(parts[i])), padded(parts[i]))
				}
			}
			w.emitJSON(kindManifest, Manifest{})
		})
		size := max(len(parts[0]), len(parts[1]), len(parts[2]))
		parts = [3][]byte{}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		ok := refused(t, data, nil, ErrDamaged) // reads it twice
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; !ok || used > 2*(uint64(size)+128<<20) {
			t.Errorf("%s in %d KB: refused: %v, for %d MB", what, len(data)>>10, ok, used>>20)
		} else {
			t.Logf("%s in %d KB: refused for %d MB", what, len(data)>>10, used>>20)
		}
	}
}

// What cannot be in an engine does not come into one, even if all sums are right.
func TestForgedContentsAreRefused(t *testing.T) {
	good := morningai.Record{Task: morningai.Task{ID: morningai.ID{1}, TraceID: morningai.ID{1}, Type: "work", Queue: "default", State: morningai.StateQueued,
		MaxAttempts: 1, Timeout: 1e9, Payload: []byte("1"), Life: 1, Version: 1}}
	whole := func(change func(*morningai.Record), lie func(*Manifest)) []byte {
		r := good
		change(&r)
		return forged(t, func(w *writer) {
			w.emitJSON(kindQueues, []int{})
			w.emitJSON(kindIncidents, []int{})
			if err := w.add(&r); err != nil {
				t.Fatal(err)
			}
			w.flush()
			m := Manifest{Format: Format}
			w.tally.into(&m)
			lie(&m)
			w.emitJSON(kindManifest, m)
		})
	}
	honest, same := func(*Manifest) {}, func(*morningai.Record) {}
	r := must[*reader](t)(newReader(bytes.NewReader(whole(same, honest))))
	defer r.close()
	if _, err := r.read(t.Context(), nil, func([]morningai.Record) error { return nil }); err != nil {
		t.Fatalf("the forger cannot even make a good one: %v", err)
	}
	for what, data := range map[string][]byte{
		"a task without an id":     whole(func(r *morningai.Record) { r.Task.ID = morningai.ID{} }, honest),
		"a payload that is broken": whole(func(r *morningai.Record) { r.Task.Payload = []byte("{") }, honest),
		"a queue with a bad name":  whole(func(r *morningai.Record) { r.Task.Queue = "a b" }, honest),
		"more tasks announced":     whole(same, func(m *Manifest) { m.Tasks++ }),
		"another state announced": whole(same, func(m *Manifest) {
			m.States = map[morningai.State]int64{morningai.StateQueued: 0, morningai.StateFailed: 1}
		}),
		"more queues announced": whole(same, func(m *Manifest) { m.Queues++ }),
		"another digest":        whole(same, func(m *Manifest) { m.Digest = m.Digest[1:] + "0" }),
		"settings of a queue that cannot be": forged(t, func(w *writer) {
			w.emitJSON(kindQueues, []morningai.QueueConfig{{Name: "mail"}, {Name: "a b"}})
			w.emitJSON(kindIncidents, []int{})
			m := Manifest{Format: Format, Queues: 2}
			w.tally.into(&m)
			w.emitJSON(kindManifest, m)
		}),
		"a report that cannot be": forged(t, func(w *writer) {
			w.emitJSON(kindQueues, []int{})
			w.emitJSON(kindIncidents, []morningai.Incident{{Cause: "none"}})
			m := Manifest{Format: Format, Incidents: 1}
			w.tally.into(&m)
			w.emitJSON(kindManifest, m)
		}),
		"something behind a list": forged(t, func(w *writer) {
			w.emit(kindQueues, []byte("[] []"))
			w.emitJSON(kindIncidents, []int{})
			m := Manifest{Format: Format}
			w.tally.into(&m)
			w.emitJSON(kindManifest, m)
		}),
		"no manifest": forged(t, func(w *writer) { w.emitJSON(kindQueues, []int{}); w.emitJSON(kindIncidents, []int{}) }),
		"parts out of order": forged(t, func(w *writer) {
			w.emitJSON(kindIncidents, []int{})
			w.emitJSON(kindQueues, []int{})
			w.emitJSON(kindManifest, Manifest{})
		}),
	} {
		if !refused(t, data, nil, ErrDamaged) {
			t.Errorf("%s: not refused", what)
		}
	}
}

// Whoever changes a backup can make all sums right, but not the signature.
func TestSignature(t *testing.T) {
	signed, plain := smallBackup(t, someKey), smallBackup(t, nil)
	if !refused(t, signed, otherKey, ErrUntrusted) || !refused(t, plain, someKey, ErrUntrusted) {
		t.Error("another key, or no signature, is not refused")
	}
	// The same file with its signature taken out, and with that of another file.
	r := must[*reader](t)(newReader(bytes.NewReader(signed)))
	f := must[*found](t)(r.read(t.Context(), someKey, func([]morningai.Record) error { return nil }))
	r.close()
	resign := func(key []byte) []byte {
		sum := sha256.New()
		b := bytes.NewBuffer(bytes.Clone(signed[:f.signature]))
		sum.Write(b.Bytes())
		w := &writer{to: b, sum: sum}
		w.end(key)
		return b.Bytes()
	}
	if !bytes.Equal(resign(someKey), signed) {
		t.Fatal("the forger cannot even repeat the original")
	}
	if !refused(t, resign(nil), someKey, ErrUntrusted) || !refused(t, resign(otherKey), someKey, ErrUntrusted) {
		t.Error("a signature that was taken out or replaced is not noticed")
	}
	path := filepath.Join(t.TempDir(), "signed")
	if err := os.WriteFile(path, signed, 0o600); err != nil {
		t.Fatal(err)
	}
	report := must[*Report](t)(VerifyFile(t.Context(), path, someKey))
	if !report.Signed || !report.Trusted || report.Tasks != 8 || report.Size != int64(len(signed)) {
		t.Errorf("the report is %+v", report)
	}
	if report := must[*Report](t)(VerifyFile(t.Context(), path, nil)); !report.Signed || report.Trusted {
		t.Errorf("without a key the report is %+v", report)
	}
}

// Blocks that are right one by one need not be those of one file.
func TestSumOfTheWholeFile(t *testing.T) {
	data := forged(t, func(w *writer) {
		w.emitJSON(kindQueues, []int{})
		w.emitJSON(kindIncidents, []int{})
		m := Manifest{Format: Format}
		w.tally.into(&m)
		w.emitJSON(kindManifest, m)
		w.sum.Write([]byte("of another file"))
	})
	if !refused(t, data, nil, ErrDamaged) {
		t.Error("a file with another sum is not refused")
	}
}

// A file that changes between the check and the restore is not restored to its end.
func TestFileThatChangesMeanwhile(t *testing.T) {
	source := embedded(t, t.TempDir())
	enqueue(t, source, spec(0))
	path := saved(t, source, nil)
	enqueue(t, source, spec(1))
	other := must[[]byte](t)(os.ReadFile(saved(t, source, nil)))
	target := embedded(t, t.TempDir())
	_, err := Restore(t.Context(), path, nil, func(context.Context, *Report) (Target, error) {
		return Target{Engine: target}, os.WriteFile(path, other, 0o600)
	})
	if !errors.Is(err, ErrDamaged) || len(records(t, target)) != 0 {
		t.Errorf("%v, and %d records were restored", err, len(records(t, target)))
	}
}

func TestKeysAndFiles(t *testing.T) {
	folder := t.TempDir()
	for text, ok := range map[string]bool{"": false, "short\n": false, "0123456789abcdef0123456789abcde\n": false, "0123456789abcdef0123456789abcdef\n": true} {
		path := filepath.Join(folder, "key")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if key, err := ReadKey(path); (err == nil) != ok || ok && len(key) != sha256.Size {
			t.Errorf("the key %q: %v", text, err)
		}
	}
	if _, err := ReadKey(filepath.Join(folder, "none")); !errors.Is(err, morningai.ErrNotFound) {
		t.Errorf("a key that is not there: %v", err)
	}
	if _, err := VerifyFile(t.Context(), filepath.Join(folder, "none"), nil); !errors.Is(err, morningai.ErrNotFound) {
		t.Errorf("a backup that is not there: %v", err)
	}
	if _, err := VerifyFile(t.Context(), folder, nil); err == nil {
		t.Error("a folder is a backup")
	}
}
