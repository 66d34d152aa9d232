package morningai

import "time"

// DataSet tells which data an engine works on, and whether it has lost some.
type DataSet struct {
	// ID is made with the data and stays with it. A storage that comes back
	// empty gets it again; another ID is other people's data.
	ID ID
	// Generation and Lineage change whenever somebody notices that the storage
	// has lost writes that it had acknowledged: the first grows, the second is
	// random. It is the sign for everybody to compare what they know with it.
	Generation int64
	Lineage    uint64
	// LostAt is when that was noticed last, by the clock of whoever noticed; zero
	// if nothing was lost yet.
	LostAt time.Time
}

// Same reports that nothing was lost between the two.
func (d DataSet) Same(o DataSet) bool {
	return d.ID == o.ID && d.Generation == o.Generation && d.Lineage == o.Lineage
}
