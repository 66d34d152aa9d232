package enginetest

import "testing"

// The reference keeps its own contract.
func TestReference(t *testing.T) { Run(t, referenceHarness()) }
