package docgen

import (
	"context"
	"testing"
)

// Among few sections neither a missing verb nor a character of another word may
// refuse a question, and neither may a shared verb answer one.
func TestFewSections(t *testing.T) {
	for _, c := range []struct {
		name, doc  string
		about, not []string
	}{
		{"english", "# Bees\n\n## Winter feed\n\nSugar dough keeps in a cold cellar until March. Empty frames are melted.\n\n## Smoker\n\nDry grass burns longest.\n",
			[]string{"How long can sugar dough be stored?", "At what temperature is the dough stored?", "Why are old frames thrown away?"},
			[]string{"How long can milk be stored?", "Why are old shoes thrown away?", "What is the temperature of the sun?", "How long does a passport stay valid?"}},
		{"german", "# Haus\n\n## Gebrauchte Räder\n\nAb 120 Euro, geprüft.\n\n## Termine\n\nDer Termin steht im Waschbuch.\n",
			[]string{"Was kostet ein gebrauchtes Rad?", "Wie buche ich einen Waschtermin?"},
			[]string{"Was kostet ein gebrauchtes Auto?", "Wie buche ich einen Zahnarzttermin?"}},
		{"italian", "# Biblioteca\n\n## Prestito\n\nSei libri per trenta giorni.\n\n## Fotocopie\n\nUna fotocopia costa trenta centesimi.\n",
			[]string{"Quanto costa una fotocopia?"}, []string{"Quanto costa un biglietto del treno?"}},
		{"french", "# Gîte\n\n## Chauffage\n\nLe poêle se recharge le soir.\n\n## Draps\n\nLes draps sont fournis.\n",
			[]string{"Faut-il apporter des draps ?", "Comment allumer le poêle ?"},
			[]string{"Faut-il apporter un passeport ?", "Comment allumer un barbecue ?"}},
		{"spanish", "# Cabaña\n\n## Leña\n\nLa leña se coge del cobertizo.\n\n## Basura\n\nLos cubos están junto al camino.\n",
			[]string{"¿Puedo quemar leña?", "¿Dónde se deposita la basura?"},
			[]string{"¿Puedo quemar un disco?", "¿Dónde se deposita el cheque?"}},
		{"chinese", "# 茶室\n\n## 茶具遗失\n\n遗失茶具须照价赔偿。\n\n## 座位\n\n座位可以预约。\n",
			[]string{"茶具丢了怎么赔？", "座位怎么预订？"},
			[]string{"护照丢了怎么办？", "机票怎么预订？"}},
		{"japanese", "# 温泉\n\n## 鍵の返し方\n\n帳場に鍵を返してください。\n\n## 浴衣\n\n浴衣は部屋にあります。\n",
			[]string{"鍵をどこに返せますか？", "浴衣は借りられますか？"},
			[]string{"車をどこに返せますか？", "自転車は借りられますか？"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := open(t, write(t, map[string]string{"a.md": c.doc}))
			for want, questions := range map[bool][]string{true: c.about, false: c.not} {
				for _, q := range questions {
					hits, about, err := g.Search(context.Background(), q, 1)
					if err != nil {
						t.Fatal(err)
					}
					if about != want {
						t.Errorf("%s: about %v, best %+v", q, about, hits)
					}
				}
			}
		})
	}
}

// A question too short to tell its language by is read in that of the documents.
func TestLanguageAmong(t *testing.T) {
	for _, c := range []struct {
		text  string
		known []language
		want  language
	}{
		{"Wo parken Besucher?", []language{"de"}, "de"}, {"¿Se admiten gatos?", []language{"es"}, "es"},
		{"Where is it?", []language{"de"}, "en"}, {"Öffnungszeiten", []language{"de"}, "de"}, {"队列", []language{"de"}, "en"},
	} {
		if got := languageAmong(c.text, c.known); got != c.want {
			t.Errorf("%q: %s, want %s", c.text, got, c.want)
		}
	}
}
