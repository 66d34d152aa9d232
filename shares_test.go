package morningai

import (
	"testing"

	"pgregory.net/rapid"
)

func TestSharesFollowWeights(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.MapOfN(rapid.StringMatching(`[a-d]`), rapid.IntRange(1, 9), 1, 4).Draw(t, "weights")
		s := newQueueShares(weights)
		total := 0
		for _, w := range weights {
			total += w
		}
		// However the claims are cut, a whole round gives each its weight.
		turns := map[string]int{}
		for left := 3 * total; left > 0; {
			n := rapid.IntRange(0, left).Draw(t, "n")
			left -= n
			sum := 0
			shares := s.next(n)
			for i, q := range shares {
				turns[q.Name] += q.Share
				sum += q.Share
				if i > 0 && q.Share > shares[i-1].Share {
					t.Fatalf("%v is out of order", shares)
				}
			}
			if sum != n || len(shares) != len(weights) {
				t.Fatalf("claim of %d was divided as %v", n, shares)
			}
		}
		for name, w := range weights {
			if turns[name] != 3*w {
				t.Fatalf("weights %v gave turns %v in three rounds", weights, turns)
			}
		}
	})
}

func TestSharesAreSpreadEvenly(t *testing.T) {
	s := newQueueShares(map[string]int{"critical": 3, "default": 1})
	var order string
	for range 8 {
		order += s.next(1)[0].Name[:1]
	}
	if order != "ccdcccdc" {
		t.Errorf("single claims went to %s", order)
	}
	if newQueueShares(nil).next(5) != nil {
		t.Error("an app without named queues names some")
	}
}
