package enginetest

import (
	"flag"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// The mutants are meant to fail, every time: nothing of that is to be kept.
	for name, value := range map[string]string{"rapid.nofailfile": "true", "rapid.shrinktime": "0s", "rapid.seed": "20", "rapid.checks": "40"} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		os.Stderr.WriteString(err.Error() + "\n")
		code = 1
	}
	os.Exit(code)
}

// The reference keeps its own contract.
func TestReference(t *testing.T) { Run(t, referenceHarness()) }

func TestReferenceJournal(t *testing.T) { RunJournal(t, referenceHarness()) }
