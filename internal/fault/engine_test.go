package fault

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/RC918/morningai"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// below is an engine that notes what it is asked. The methods that it has not are
// never called.
type below struct {
	morningai.Engine
	calls []string
	ids   []morningai.ID
}

func (b *below) Enqueue(ctx context.Context, specs []morningai.TaskSpec) ([]morningai.Receipt, error) {
	b.calls = append(b.calls, "Enqueue")
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	out := make([]morningai.Receipt, len(specs))
	for i, s := range specs {
		b.ids = append(b.ids, s.ID)
		out[i].Task.ID = s.ID
	}
	return out, nil
}

func (b *below) Close() error { b.calls = append(b.calls, "Close"); return nil }

func spec(n byte) []morningai.TaskSpec { return []morningai.TaskSpec{{ID: morningai.ID{n}}} }

var errCut = errors.New("the wire was cut")

// TestEveryMethodFollowsTheScript goes through all methods of the two
// interfaces: what is passed on arrives with its arguments, and each method has a
// plan of its own.
func TestEveryMethodFollowsTheScript(t *testing.T) {
	face := reflect.TypeFor[morningai.Journal]()
	for i := range face.NumMethod() {
		m := face.Method(i)
		if m.Name == "Capabilities" || m.Name == "Close" {
			continue
		}
		t.Run(m.Name, func(t *testing.T) {
			var called []string
			j := NewJournal(parrot{&called})
			call := func() (got []string, err error) {
				called = nil
				args := []reflect.Value{reflect.ValueOf(t.Context())}
				for k := 1; k < m.Type.NumIn(); k++ {
					args = append(args, sample(m.Type.In(k)))
				}
				out := reflect.ValueOf(j).MethodByName(m.Name).Call(args)
				err, _ = out[len(out)-1].Interface().(error)
				return called, err
			}
			if got, err := call(); !slices.Equal(got, []string{m.Name}) || err == nil || err.Error() != m.Name {
				t.Errorf("without a fault it leads to %v and answers %v", got, err)
			}
			j.Add(Method(m.Name), Fault{Err: errCut})
			if got, err := call(); len(got) != 0 || !errors.Is(err, errCut) {
				t.Errorf("with an error it leads to %v and answers %v", got, err)
			}
			j.Add(Any, Fault{Applied: true, Err: errCut})
			if got, err := call(); !slices.Equal(got, []string{m.Name}) || !errors.Is(err, errCut) {
				t.Errorf("with a lost answer it leads to %v and answers %v", got, err)
			}
			if got, err := call(); len(got) != 1 || errors.Is(err, errCut) {
				t.Errorf("after the faults it leads to %v and answers %v", got, err)
			}
			if j.Calls(Method(m.Name)) != 4 || j.Hits(Method(m.Name)) != 2 || j.Calls(Any) != 4 || j.Hits(Any) != 2 {
				t.Errorf("%d calls, %d hits", j.Calls(Any), j.Hits(Any))
			}
		})
	}
}

// sample is an argument that can be recognized.
func sample(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	switch t.Kind() {
	case reflect.Slice:
		return reflect.MakeSlice(t, 3, 3)
	case reflect.String:
		v.SetString("x")
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint8:
		v.SetUint(7)
	}
	return v
}

func TestAPlanIsUsedUpInItsOrder(t *testing.T) {
	b := &below{}
	e := NewEngine(b)
	first, second := errors.New("first"), errors.New("second")
	e.Add("Enqueue", Fault{Err: first, Times: 2})
	e.Add("Enqueue", Fault{Err: second})
	e.Add("Finish", Fault{Err: errCut, Times: -1})
	for i, want := range []error{first, first, second, nil} {
		if _, err := e.Enqueue(t.Context(), spec(1)); !errors.Is(err, want) {
			t.Errorf("call %d answers %v, want %v", i, err, want)
		}
	}
	for range 5 {
		if _, err := e.Finish(t.Context(), nil); !errors.Is(err, errCut) {
			t.Errorf("a fault that lasts is over: %v", err)
		}
	}
	e.Clear()
	e.Add("Enqueue", Fault{Err: errCut, Times: -1, When: func(request any) bool {
		return slices.ContainsFunc(request.([]morningai.TaskSpec), func(s morningai.TaskSpec) bool { return s.ID[0] == 9 })
	}})
	for n, want := range map[byte]error{1: nil, 9: errCut} {
		if _, err := e.Enqueue(t.Context(), spec(n)); !errors.Is(err, want) {
			t.Errorf("task %d: %v, want %v", n, err, want)
		}
	}
}

func TestDelaysAndSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &below{}
		e := NewEngine(b)
		soon, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		e.Add("Enqueue", Fault{Delay: 500 * time.Millisecond})
		if _, err := e.Enqueue(soon, spec(1)); err != nil || time.Since(begin) != 500*time.Millisecond || len(b.ids) != 1 {
			t.Errorf("a delayed call took %v: %v", time.Since(begin), err)
		}
		e.Add("Enqueue", Fault{Delay: time.Hour})
		if _, err := e.Enqueue(soon, spec(2)); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Second || len(b.ids) != 1 {
			t.Errorf("a call that is too late after %v: %v, %d applied", time.Since(begin), err, len(b.ids))
		}
		for _, applied := range []bool{false, true} {
			b.ids = nil
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			e.Add("Enqueue", Fault{Silent: true, Applied: applied})
			if got, err := e.Enqueue(ctx, spec(3)); !errors.Is(err, context.DeadlineExceeded) || got != nil || (len(b.ids) == 1) != applied {
				t.Errorf("silence answers %v, %v; applied: %v", got, err, b.ids)
			}
			cancel()
		}
		e.Add("Enqueue", Fault{Silent: true})
		answer := make(chan error)
		go func() { _, err := e.Enqueue(context.Background(), spec(4)); answer <- err }()
		synctest.Wait()
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if err := <-answer; !errors.Is(err, morningai.ErrClosed) {
			t.Errorf("a silent call of an engine that was closed: %v", err)
		}
	})
}

func TestHeldCallsArriveLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &below{}
		e := NewEngine(b)
		type answer struct {
			n   byte
			got []morningai.Receipt
			err error
		}
		answers := make(chan answer, 4)
		send := func(ctx context.Context, n byte, f Fault) {
			f.Hold = true
			e.Add("Enqueue", f)
			go func() {
				got, err := e.Enqueue(ctx, spec(n))
				answers <- answer{n, got, err}
			}()
			synctest.Wait()
		}
		brief, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		send(t.Context(), 1, Fault{})
		send(brief, 2, Fault{})
		send(t.Context(), 3, Fault{Err: errCut})
		send(t.Context(), 4, Fault{Err: errCut, Applied: true})
		if got := <-answers; got.n != 2 || !errors.Is(got.err, context.DeadlineExceeded) {
			t.Errorf("the first answer is %+v", got)
		}
		if e.Held() != 4 || len(b.ids) != 0 {
			t.Errorf("%d held, applied %v", e.Held(), b.ids)
		}
		e.Release()
		if want := []morningai.ID{{1}, {2}, {4}}; !slices.Equal(b.ids, want) || e.Held() != 0 {
			t.Errorf("released, %v were applied, want %v", b.ids, want)
		}
		for range 3 {
			got := <-answers
			if ok := got.err == nil && len(got.got) == 1; got.n == 1 && !ok || got.n != 1 && !errors.Is(got.err, errCut) {
				t.Errorf("answer %+v", got)
			}
		}
		send(t.Context(), 5, Fault{})
		if err := e.Close(); err != nil || len(b.ids) != 4 || !slices.Equal(b.calls[len(b.calls)-1:], []string{"Close"}) {
			t.Errorf("closed with %v; applied %v, called %v", err, b.ids, b.calls)
		}
		<-answers
	})
}
