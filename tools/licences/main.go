// Command licences checks the licences of the modules that this repository links,
// test code left out, on every system that it is built for:
//
//	go run -C tools ./licences ROOT-OF-THE-REPOSITORY
//
// It names each module whose licence is none of the accepted ones, is not
// recognised or is missing, and then ends with exit code 1.
package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: licences ROOT-OF-THE-REPOSITORY")
		os.Exit(2)
	}
	modules, err := linked(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
	failed := false
	for _, m := range modules {
		if err := check(m); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", m.path, err)
			failed = true
		}
	}
	if failed {
		fmt.Fprintln(os.Stderr, "Replace the module, or accept what it says in tools/licences/accepted.go, with the reason.")
		os.Exit(1)
	}
	fmt.Printf("%d linked modules have licences that we accept.\n", len(modules))
}

// A module is one that is linked, with the directories of its linked packages.
type module struct {
	path, dir string
	packages  []string
}

// linked lists the modules that go into what is built in root, sorted by path.
func linked(root string) ([]module, error) {
	found := map[string]*module{}
	for _, system := range systems {
		list := exec.Command("go", "list", "-deps", "-json=Dir,Module", "./...") //nolint:noctx // it ends with this program
		list.Dir = root
		list.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
		list.Stderr = os.Stderr
		out, err := list.Output()
		if err != nil {
			return nil, fmt.Errorf("list the packages for %s: %w", system, err)
		}
		for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
			var p struct {
				Dir    string
				Module *struct {
					Path, Dir string
					Main      bool
				}
			}
			if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, fmt.Errorf("read the packages for %s: %w", system, err)
			}
			if p.Module == nil || p.Module.Main {
				continue
			}
			m := found[p.Module.Path]
			if m == nil {
				m = &module{path: p.Module.Path, dir: p.Module.Dir}
				found[m.path] = m
			}
			m.packages = append(m.packages, p.Dir)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s links no module: is it the root of the repository?", root)
	}
	modules := make([]module, 0, len(found))
	for _, m := range found {
		modules = append(modules, *m)
	}
	slices.SortFunc(modules, func(a, b module) int { return cmp.Compare(a.path, b.path) })
	return modules, nil
}

// check reports all that is wrong with the licences of a module.
func check(m module) error {
	files, err := licenceFiles(m)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return errors.New("no file with a licence")
	}
	var problems []error
	for _, file := range files {
		name, err := filepath.Rel(m.dir, file)
		if err != nil {
			return err
		}
		if read[m.path+"/"+filepath.ToSlash(name)] != "" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if err := judge(m.path, text); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(problems...)
}

// licenceName is how files with licences are called, in capitals.
var licenceName = regexp.MustCompile(`^(UN)?LICEN[CS]ES?([-._].+)?$|^.+[-.]LICEN[CS]E$|^COPYING([-._].+)?$`)

// licenceFiles lists the files that hold for the linked packages of a module: those
// in their directories and in the ones above, up to the root of the module.
func licenceFiles(m module) ([]string, error) {
	seen := map[string]bool{}
	var files []string
	for _, dir := range m.packages {
		for ; !seen[dir]; dir = filepath.Dir(dir) {
			seen[dir] = true
			entries, err := os.ReadDir(dir)
			if err != nil {
				return nil, err
			}
			for _, e := range entries {
				if !e.IsDir() && filepath.Ext(e.Name()) != ".go" && licenceName.MatchString(strings.ToUpper(e.Name())) {
					files = append(files, filepath.Join(dir, e.Name()))
				}
			}
			if dir == m.dir {
				break
			}
		}
	}
	return files, nil
}

// judge says what is wrong with the text of a licence, nil if nothing is.
func judge(module string, text []byte) error {
	coverage := licensecheck.Scan(text)
	if len(coverage.Match) == 0 {
		return errors.New("not a licence that is known")
	}
	for _, match := range coverage.Match {
		if !accepted[match.ID] && byName[module] != match.ID {
			return fmt.Errorf("%s is not accepted", match.ID)
		}
	}
	// The rest must be short: names of authors, not more terms.
	if coverage.Percent < recognised {
		return fmt.Errorf("only %.0f %% of it are known, as %s", coverage.Percent, coverage.Match[0].ID)
	}
	return nil
}
