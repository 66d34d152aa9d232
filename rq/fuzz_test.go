package rq

import (
	"encoding/json"
	"testing"
)

// Whatever bytes a job has, reading them neither panics nor yields what is not
// JSON, and the walk over a pickle ends.
func FuzzUnpack(f *testing.F) {
	for _, seed := range []string{"", "[1]", "\x80\x04K\x01.", "\x80\x05\x95\x10\x00\x00\x00\x00\x00\x00\x00]\x94(K\x01h\x00e.", "\x80\x02}q\x00U\x01aK\x01s.",
		"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.", "(lp0\nI1\na.", "[NaN, -Infinity]", "x\x9c\x8b6\x8c\x05\x00\x02\x13\x00\xe1"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if v, err := unpack(data); err == nil && !json.Valid(v) {
			t.Errorf("%q became %q", data, v)
		}
		if c, err := unpackCall(data); err == nil && (!json.Valid(c.args) || !json.Valid(c.kwargs)) {
			t.Errorf("%q became %+v", data, c)
		}
		unpackTrace(string(data))
	})
}
