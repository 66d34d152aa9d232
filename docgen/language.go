package docgen

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
)

// stopWords are the words of each language that say nothing about the subject:
// function words, and those that only make a sentence a question. They also
// tell languages apart. Words are written without accents, as foldMarks leaves
// them. They are dropped from questions only; documents are indexed whole.
var stopWords = map[language]map[string]bool{
	"en": wordSet(`a about above after again against all also am an and any anybody anyone anything are aren around as at
be because been before being below between both but by can cannot could couldn d did didn do does doesn doing don done down during
each either else ever every everything few for from further get gets getting give given go goes going got had hadn has hasn have
haven having he her here hers herself him himself his how however i if in instead into is isn it its itself just let ll
m many may maybe me might mine more most much must mustn my myself need needs neither no nor not now of off on once one only
or other others ought our ours ourselves out over own per please possible quite rather re really s same shall shan she should shouldn so
some somebody someone something still such t tell than that the their theirs them themselves then there these they thing things this those
through to too under until up upon us ve very want was wasn way ways we were weren what whatever when whenever where whether which
while who whom whose why will with within without won would wouldn yet you your yours yourself yourselves explain describe show
mean means meant happen happens happened work works anyway actually exactly okay hi hello thanks thank`),
	"de": wordSet(`aber als am an auch auf aus bei beim bin bis bitte da dabei damit dann darf das dass dem den denn der des die dies diese
diesem diesen dieser dieses doch dort du durch ein eine einem einen einer eines er es etwas fur gegen gibt haben hat hatte hier ich ihm
ihn ihr im in ins ist ja jede jeder jedes jetzt kann kein keine keinen kannst konnen konnte lasst machen macht man mehr mein meine meinem meinen
mich mir mit muss mussen nach nicht noch nun nur ob oder ohne passiert schon sein seine sich sie sind so soll sollte sollten sowie uber um und uns
unser unter viel vom von vor wann warum was welche welchem welchen welcher welches wenn wer werde werden wie wieder wieso wird wo wofur
womit worden wurde wurden zu zum zur zwischen bedeutet funktioniert geht tun tue heisst`),
	"fr": wordSet(`a afin ai alors apres as au aucun aussi autre aux avant avec avoir c ce cela ces cet cette ceux chaque ci comme comment
d dans de depuis des deux doit dois donc du elle elles en encore entre es est et etait etre eux fait faire faut font il ils j je jusqu
l la laquelle le lequel les leur leurs lorsque lui m ma mais me meme mes mon n ne ni nos notre nous on ont ou par parce pas pendant peut peux
plus pour pourquoi puis qu quand que quel quelle quelles quels qui quoi s sa sans se sera ses si son sont sous sur t ta te tes ton tous tout toute
toutes tres tu un une vers voici voir vos votre vous y passe signifie veut dire fonctionne`),
	"es": wordSet(`a al algo algun alguna ante antes aqui asi aun aunque cada como con contra cual cuales cualquier cuando cuanto de debe
debo del desde despues donde dos e el ella ellas ellos en entre era es esa ese eso esta estan estar este esto estos fue ha hace hacer hago han
hasta hay la las le les lo los mas me mi mis mismo muy nada ni no nos nosotros o otra otro para pero por porque pueda puede puedo pues que
quien quiero se sea ser si sido sin sobre solo son su sus tambien tan te tengo tiene tienen todo todos tu un una uno unos usted y ya yo significa
funciona ocurre pasa sucede`),
	"pt": wordSet(`a ao aos aqui as ate cada com como da das de dela dele depois do dos e ela ele eles em entre era essa esse esta estao
estar este eu faco faz fazer foi ha isso isto ja la mais mas me mesmo meu minha muito na nao nas nem no nos nossa nosso o onde os ou para pela
pelo pode posso por porque preciso qual quais quando quanto que quem se sem ser seu sua sao so sobre tambem tem tenho um uma umas uns voce
acontece significa funciona`),
	"it": wordSet(`a ad agli ai al alla alle allo anche ancora che chi ci come con cosa cui da dagli dal dalla dei del della delle dello devo di
dopo dove e ed era essere fa faccio fare gli ha hanno ho i il in io la le lo loro ma mi mio nei nel nella nelle no noi non nostro o ogni per
perche piu posso puo qual quale quali quando quanto quella quello questa questo se sei senza si sia sono su sua sugli sul sulla suo tra tu un una
uno vi voi significa funziona succede`),
	"nl": wordSet(`aan al als bij dan dat de der deze die dit doen door dus een en er gaat geen had heb hebben heeft het hier hij hoe iets ik
in is je kan kunnen kun maak maakt maar mag maken meer men met mijn moet moeten na naar niet nog nu of om onder ons onze ook op over te tegen toch tot u uit van
veel voor waar waarom wanneer wat we welke wel werd wie wil worden wordt zal ze zich zij zijn zo zonder zou gebeurt betekent werkt`),
	"sv": wordSet(`alla allt att av blir da de dem den denna det detta dig din du efter eller en ett fran for gor gora han har hur i
icke in inte ja jag kan man med men mig min mot mycket nar ni nu nagon och om oss pa sa sig sin ska skall som till under upp ut utan vad var
varfor vart vem vi vid vilka vilken vill ar ska maste finns hander betyder fungerar`),
	"no": wordSet(`alle at av ble blir da de deg dem den denne der det dette din du eller en er et etter for fra gjor gjore ha han har hva
hvem hver hvilken hvis hvor hvordan hvorfor i ikke inn jeg kan man med meg men mer min mot ma nar noe nei na og om opp oss pa sa seg
sin skal som til under ut uten var ved vi vil`),
	"hu": wordSet(`a az azt egy es ez ezt hogy hogyan ha mi mit mikor miert nem is van vagy ki kell lehet volt meg de el csak mint
hol milyen melyik tudom`),
	"pl": wordSet(`a aby ale co czy czym dla do gdy gdzie i ich ile jak jaka jaki jakie jako je jego jej jest jesli juz kiedy kto ktora ktore
ktory lub ma moge mozna na nad nie o od oraz po pod przed przez przy sa sie tak ten to tu tylko w we z za ze zrobic dlaczego`),
	"tr": wordSet(`ama bir bu cok da daha de en gibi hangi icin ile kadar ki mi mu ne neden nerede nasil o olan olarak sonra ve veya ya
ben biz nedir yapilir edilir edebilirim yapabilirim`),
	"ru": wordSet(`а без более бы был была были было быть в вам вас ваш весь во вот все всего всех вы где да для до его ее если есть еще
же за и из или им их к как какая какие какой каким ко когда кто куда ли мне можно мой мы на над надо нам нас не него нет ни но ну о об он она они
от по под почему при про с сделать делать себя со так также такой там то того тоже только том ты у уже чего чем что чтобы эта эти это этого этот
я зачем нужно происходит означает работает такое сколько`),
}

// commonWords are English words that stand in almost any text about doing
// something. A question keeps them, with little weight. They are stems.
var commonWords = wordSet(`add allow avoid avail bad befor begin best better big call case caus chang check choos come common correct creat
current differ do easi enabl end ensur exampl fast find fix first follow follow full general good guid handl help high import issu keep kind know larg last
learn like list long look lot main make manag mean method new number open option order part point problem prevent proper provid put quick read reason
recommend right run safe see set setup simpl small solut solv start step stop support sure take thing time tip try turn type understand usag
use user usual various view wrong import long often old place happen effect behavior behaviour default deal tool topic question answer purpos perform
inform detail relat specif possibl wai work cours day year week people person world`)

func wordSet(s string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(s) {
		set[w] = true
	}
	return set
}

// languageOf guesses the language of a text in an alphabetic script by its stop
// words, which make up a third of ordinary prose. It answers English unless
// another language is clearly there: lists of names and commands are English.
func languageOf(text string) language {
	const enough = 600 // words looked at
	counts := map[language]int{}
	n := 0
	for w := range strings.FieldsFuncSeq(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsMark(r) }) {
		if n++; n > enough {
			break
		}
		if len(w) > 24 {
			continue
		}
		w = foldMarks(strings.ToLower(w))
		for lang, words := range stopWords {
			if words[w] {
				counts[lang]++
			}
		}
	}
	if best := mostWords(counts); counts[best] > counts[langEnglish] && counts[best] >= max(2, min(n, enough)/16) {
		return best
	}
	return langEnglish
}

// mostWords returns the language with the highest count, English if none has any.
func mostWords(counts map[language]int) language {
	best := langEnglish
	for lang, n := range counts {
		if n > counts[best] || n == counts[best] && best != langEnglish && lang < best { // the same for every run
			best = lang
		}
	}
	return best
}

// languageAmong is languageOf for a question of few words: of two readings it
// takes the one in a language that the documents are in.
func languageAmong(text string, known []language) language {
	if lang := languageOf(text); lang != langEnglish {
		return lang
	}
	counts := map[language]int{}
	letters := false
	for w := range strings.FieldsFuncSeq(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsMark(r) }) {
		w = foldMarks(strings.ToLower(w))
		letters = letters || scriptOf(firstRune(w)) == scriptWord
		for _, lang := range append([]language{langEnglish}, known...) {
			if stopWords[lang][w] {
				counts[lang]++
			}
		}
	}
	if best := mostWords(counts); counts[best] > counts[langEnglish] {
		return best
	}
	if len(known) == 1 && len(counts) == 0 && letters {
		return known[0]
	}
	return langEnglish
}

// scaffolding are the phrases that make a sentence a question in languages
// without spaces, longest first within a language. They are cut out of
// questions before the rest is paired.
var scaffolding = func() []string {
	list := strings.Fields(`应该怎么办 应该怎么做 怎么解决 如何解决 是什么意思 什么意思 的时候 是怎么 怎么样 怎么办 怎么做 怎么会 有什么 是什么 为什么 什么是 什么叫 什么样 什么时候
有几天 有几个 几天 几个 几次 几点 几年 几种 几位 几号 几台 几小时 几分钟 幾天 幾個 幾次 幾點 幾年 幾種
有哪些 是哪个 哪一个 哪一些 哪几种 哪些 哪个 哪里 哪儿 如何 怎么 怎样 为何 什么 多少 多久 多长 是否 能否 可否 可以 能够 应该 需要 必须 请问 请告诉我 告诉我 我想 我要 我们 你们 他们 如果 之后 以后 时候
會怎麼 應該怎麼辦 怎麼辦 怎麼做 為什麼 是什麼 什麼是 什麼 怎麼 怎樣 為何 哪裡 應該 可以 能夠 需要 請問 如果 之後 以後 時候 會不會 有沒有 是不是
会不会 能不能 是不是 有没有 要不要 可不可以 会发生 介绍一下 说明一下 一下 一直 总是 老是 突然 已经 仍然 依然 经常 太多 太少 太大 太慢 很多 很慢 非常 不断 不停
について教えてください を教えてください 教えてください 教えて下さい について教えて を教えて どのようにすれば どのようにして どのような どのように どうすればいいですか どうすれば良いですか どうすればよいですか
どうすれば どうしたら どうなりますか どうなるのか どうなる どうやって どうして 何ですか なんですか 何でしょうか とは何ですか とはなんですか とは何か とは何 とは なぜですか なぜ いつですか いつ どこですか どこ どれ どの どんな
必要がありますか 必要があります 必要ですか 必要な 必要 ですか ますか でしょうか ましたか ませんか したいです したい するには するために するとき するため すると するべき すべき してください ください できますか できる できない について に関して に対して において という ときは ときに とき場合 場合は 場合に
なったら なった時 したら した場合 している しています される された されます しますか します しました した する あります ありますか ある いる います なに 何が 何を 何に 方法 ための ために には では から まで より など です ます 教え`)
	slices.SortStableFunc(list, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return slices.Compact(list)
}()

// scaffoldChars separate words in a Chinese question and are no part of one.
const scaffoldChars = "的了吗呢吧么嗎麼我你您它請请"

// hangulStop are the beginnings of Korean words that only ask.
var hangulStop = strings.Fields(`어떻게 어떤 무엇 무슨 언제 어디 왜 얼마나 알려 설명해 주세요 있나요 있습니까 있는 있다 없나요 없는 수 것 때 대해 대한 대하여 관해 하나요 인가요 뭔가요 뭐 되나요
됩니까 합니까 해야 하는 하려면 할 할까요 되면 일어나 위해 위한 그리고 또는 어느 누가 방법`)
