// Package docgen answers a question from a folder of Markdown documents.
//
// A [Generator] splits the documents into sections, keeps a full-text index of
// them, finds the sections that a question is about, and composes a document
// from them: whole sections, each with its source, and links that lead to files
// that exist. It writes nothing of its own invention. If the documents are not
// about the question it says so with [CodeNoRelevantDocuments]; it never
// answers something else.
//
// # Retrieval
//
// The index is SQLite FTS5 over four columns: title and file name, headings,
// text, code. One analyser prepares both documents and questions: Snowball stems
// (Porter, "Snowball: A language for stemming algorithms", 2001) for scripts
// that set spaces between words, overlapping pairs of characters for Han, kana
// and hangul, and identifiers whole as well as in parts. Candidates come from
// the index by BM25 and are ranked anew with BM25F (Robertson, Zaragoza, "The
// Probabilistic Relevance Framework", 2009), nearness of the question's words,
// and how much of the question's weight a section covers. That coverage also
// decides whether there is an answer at all.
//
// Rarity tells what matters in a question only where there are many sections.
// Among fewer than two hundred the weights for the decision are the more alike
// the fewer there are. What makes a difference there is what kind of word it
// is: words that go with any subject, verbs by their place in the sentence, and
// what is asked for ("at what temperature") weigh less than the subject; Han
// characters carry their weight singly where the documents lack their pair; a
// heading that the question has as a whole counts in its favour.
//
// # What holds when things fail
//
// The index is a cache: it is brought up to date before each answer, may be
// used by several processes at once, and is built anew if it is damaged or was
// written by another version of the analyser. Files that cannot be used as
// documents (too large, binary, not UTF-8, unreadable) are passed over and
// reported, never read whole and never fatal.
package docgen
