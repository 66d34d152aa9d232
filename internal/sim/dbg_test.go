package sim
import ("testing";"fmt")
func TestDbg(t *testing.T) {
	fmt.Println(Tell(Config{Open: openPlain, NoJournal: true, Faults: Faults{Outages: true}}, 181).Story(60))
}
