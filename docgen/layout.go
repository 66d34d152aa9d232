package docgen

import (
	"bufio"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// faqDir is where answers are published, from the root of the repository.
const faqDir = "docs/faq"

// layout says where the documents folder lies in its repository: the git
// repository around it; without one the folder's parent if it is called docs,
// and else the folder itself.
type layout struct {
	repo   string // absolute
	prefix string // of the documents folder in it, with slashes; "." if it is the root
}

func layoutOf(dir string) layout {
	repo := gitRoot(dir)
	if repo == "" {
		repo = dir
		if strings.EqualFold(filepath.Base(dir), "docs") {
			repo = filepath.Dir(dir)
		}
	}
	rel, err := filepath.Rel(repo, dir)
	if err != nil {
		return layout{dir, "."}
	}
	return layout{repo, filepath.ToSlash(rel)}
}

// gitRoot returns the folder around dir that has a .git, or "".
func gitRoot(dir string) string {
	for {
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			return ""
		}
		dir = up
	}
}

// repoPath turns a path in the documents folder into one in the repository.
func (l layout) repoPath(p string) string { return path.Join(l.prefix, p) }

// docPath is the reverse of repoPath, "" for what is outside of the folder.
func (l layout) docPath(repoPath string) string {
	if l.prefix == "" || l.prefix == "." {
		return repoPath
	}
	if p, ok := strings.CutPrefix(repoPath, l.prefix+"/"); ok {
		return p
	}
	return ""
}

// fromFAQ returns the relative link from a published answer to a path in the
// repository.
func fromFAQ(repoPath string) string { return escapePath("../../" + repoPath) }

// escapePath escapes what would end or split a link in Markdown.
func escapePath(p string) string {
	p = strings.TrimPrefix(p, "./")
	if rest, ok := strings.CutPrefix(p, "../../docs/"); ok {
		p = "../" + rest
	}
	return strings.NewReplacer("%", "%25", " ", "%20", "(", "%28", ")", "%29", "<", "%3C", ">", "%3E", "#", "%23", "?", "%3F",
		"\\", "%5C", "\"", "%22", "[", "%5B", "]", "%5D", "\n", "%0A", "`", "%60").Replace(p)
}

// Repository returns OWNER/NAME of the git remote "origin" of the repository
// around dir, or "" if there is none.
func Repository(dir string) string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return ""
	}
	root := gitRoot(abs)
	if root == "" {
		return ""
	}
	file, err := os.Open(gitConfig(root))
	if err != nil {
		return "" // a repository without a readable configuration names no origin
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	origin := false
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "[") {
			origin = line == `[remote "origin"]`
			continue
		}
		if key, value, ok := strings.Cut(line, "="); ok && origin && strings.TrimSpace(key) == "url" {
			return ownerAndName(strings.TrimSpace(value))
		}
	}
	return ""
}

// gitConfig finds the configuration; in a linked work tree .git is a file that
// names another folder, whose "commondir" leads to it.
func gitConfig(root string) string {
	dot := filepath.Join(root, ".git")
	data, err := os.ReadFile(dot)
	if err != nil { // a folder, the usual case
		return filepath.Join(dot, "config")
	}
	dir := strings.TrimSpace(strings.TrimPrefix(string(data), "gitdir:"))
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(root, dir)
	}
	if common, err := os.ReadFile(filepath.Join(dir, "commondir")); err == nil {
		dir = filepath.Join(dir, strings.TrimSpace(string(common)))
	}
	return filepath.Join(dir, "config")
}

// ownerAndName takes the last two parts of a remote's address.
func ownerAndName(url string) string {
	url = strings.TrimSuffix(strings.TrimRight(url, "/"), ".git")
	if strings.HasPrefix(url, "file:") {
		return ""
	}
	if _, rest, ok := strings.Cut(url, "://"); ok {
		url = rest
	} else {
		if host, rest, ok := strings.Cut(url, ":"); ok && !strings.Contains(host, "/") {
			url = host + "/" + rest
		} else {
			return "" // a path on this machine
		}
	}
	parts := strings.Split(url, "/")
	if len(parts) < 3 {
		return ""
	}
	repo := parts[len(parts)-2] + "/" + parts[len(parts)-1]
	if !repoName.MatchString(repo) {
		return ""
	}
	return repo
}
