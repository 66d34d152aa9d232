package docgen

import (
	"strings"
	"unicode/utf8"
)

// Among few sections a pair of characters that the documents do not have may
// still be made of words that they have: 书丢了 asks what 图书丢失 answers. So the
// weight of a run lies on its characters there. A pair that the documents have
// carries the weight of both; what is left over carries its own, and counts half
// where it is only a part of a longer stretch that the documents do not have.

const (
	hanShare      = 0.45 // of a word's weight: two characters make one
	singleShare   = 0.35 // of a character that is a word by itself, mostly a verb
	everydayShare = 0.18 // of a character of an everyday word
	hiraganaShare = 0.05
	functionShare = 0.06
	partCredit    = 0.5
)

// asideChars do not tell what a question is about when they stand alone:
// function words, numerals, measures.
const asideChars = functionChars + "一二三四五六七八九十两兩几幾多少个個张張次天年月日号號元块塊件条條种種名位点點本只隻些每各再又很太最更可要去来來到上下里裡中内內外得着過过是何"

// everydayPairs and everydayChars are Chinese and Japanese words that go with any
// subject, as everydayWords are in other languages.
var everydayPairs = wordSet(`安排 办理 帮助 保存 保管 保留 别人 不同 查看 处理 出现 打开 得到 东西 发生 费用 付款 改变 更改 工作 关闭 关门 花费 获得 价格 价钱 检查 进行 禁止 开门 开始 开通
	联系 免费 命名 取得 取消 确认 如何 上班 设置 申请 使用 时间 收费 收取 手续 告诉 提交 提前 通知 完成 问题 下班 写入 需要 选择 修改 要求 以前 影响 预订 预约 允许 找到 正常 知道 直接 注意 准备 作用
	東西 費用 價格 開始 結束 結果 問題 時間 辦理 處理 設定 設置 選擇 申請 取消 變更 確認 聯絡 通知 使用 結束 结束 结果 情况
	何時 何日 何円 何人 何回 何分 何年 何月 何度 場合 連絡 予約 料金 値段 価格 費用 代金 無料 有料 利用 使用 開始 終了 変更 確認 選択 設定 手続 保存 保管 注意 可能 当日 前日 午前 午後 時期 期間 期限 場所 理由 自分 結果 最大 最高 最低 準備 用意`)

const everydayChars = "找花放写寫看听聽说說用给給让带帶拿买買卖賣付交收开開关關打做办辦换換改占传傳退还還取送等钱錢人忘丢丟罚罰走坐住吃喝" +
	"教知思言行見出入持着置返貸借払売落失直閉始終変選決待使作取受届来来"

// characters adds the concepts of the run of East Asian characters that begins
// with token i, and returns the index of the token behind it.
func (b *queryBuilder) characters(tokens []token, i int, verbs []string) int {
	var words []concept // of katakana; they come before the pairs of their run
	end := i
	for ; end < len(tokens) && tokens[end].kind == kindKatakana; end++ {
		words = append(words, concept{terms: []string{tokens[end].term}, kind: kindKatakana, pos: tokens[end].pos})
	}
	var chars []rune
	pos := 0
	for ; end < len(tokens); end++ {
		t := &tokens[end]
		if len(chars) == 0 {
			chars, pos = []rune(t.term), t.pos
		} else if (isPair(t.kind) || t.kind == kindHiragana) && t.pos == pos+len(chars)-1 {
			chars = append(chars, []rune(t.term)[1])
		} else {
			break
		}
	}
	shares := make([]float64, len(chars))
	for i, r := range chars {
		shares[i] = charShare(r)
	}
	for _, v := range verbs {
		if before, _, ok := strings.Cut(string(chars), v); ok {
			at := utf8.RuneCountInString(before)
			for j := range utf8.RuneCountInString(v) {
				shares[at+j] *= verbWeight
			}
		}
	}
	for i := range chars {
		if i+1 < len(chars) && everydayPairs[string(chars[i:i+2])] {
			shares[i], shares[i+1] = min(shares[i], everydayShare), min(shares[i+1], everydayShare)
		}
	}
	for _, w := range words {
		for j := range utf8.RuneCountInString(w.terms[0]) {
			shares[w.pos-pos+j] = 0
		}
		b.add(w, 1)
	}
	pairs := make([]bool, len(chars)) // the pair that begins here is in the documents
	covers := make([]int, len(chars))
	for i := 0; i+1 < len(chars); i++ {
		if shares[i]+shares[i+1] > 0 && b.count([]string{string(chars[i : i+2])}) > 0 {
			pairs[i] = true
			// 鍵を is 鍵 with a particle: 鍵の, which means the same, must do as well.
			if scriptOf(chars[i]) == scriptHiragana || scriptOf(chars[i+1]) != scriptHiragana {
				covers[i]++
			}
			if scriptOf(chars[i+1]) == scriptHiragana || scriptOf(chars[i]) != scriptHiragana {
				covers[i+1]++
			}
		}
	}
	for i, r := range chars {
		if i+1 < len(chars) && pairs[i] {
			c := concept{terms: []string{string(chars[i : i+2])}, kind: pairKind(chars[i : i+2]), pos: pos + i}
			share := 0.0
			for _, j := range []int{i, i + 1} {
				if scriptOf(chars[j]) == scriptHiragana || scriptOf(chars[2*i+1-j]) != scriptHiragana {
					share += shares[j] / float64(covers[j])
				}
			}
			b.add(c, share/kindWeights[c.kind])
		}
		if covers[i] > 0 || scriptOf(r) != scriptHan || shares[i] <= functionShare {
			continue
		}
		c := concept{terms: b.pairsWith(r), kind: kindSingle, pos: pos + i}
		alone := true
		for _, j := range []int{i - 1, i + 1} {
			if j >= 0 && j < len(chars) && covers[j] == 0 && scriptOf(chars[j]) == scriptHan && shares[j] > functionShare {
				alone = false
			}
		}
		share := shares[i]
		if alone {
			share = min(share, singleShare)
			if strings.ContainsRune(everydayChars, r) {
				share = min(share, everydayShare)
			}
		} else {
			c.credit = partCredit
		}
		b.add(c, share/kindWeights[c.kind])
	}
	return end
}

func charShare(r rune) float64 {
	switch {
	case strings.ContainsRune(asideChars, r):
		return functionShare
	case scriptOf(r) == scriptHan:
		return hanShare
	}
	return hiraganaShare
}

// pairsWith returns a character and the pairs of the documents that have it.
func (b *queryBuilder) pairsWith(r rune) []string {
	if b.pairs == nil && b.err == nil {
		b.pairs, b.err = b.index.pairs(b.ctx)
	}
	return append([]string{string(r)}, b.pairs[r]...)
}
