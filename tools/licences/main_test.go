package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const bsd3 = `Copyright (c) 2026 Somebody. All rights reserved.

Redistribution and use in source and binary forms, with or without
modification, are permitted provided that the following conditions are met:

1. Redistributions of source code must retain the above copyright notice, this
list of conditions and the following disclaimer.
2. Redistributions in binary form must reproduce the above copyright notice, this
list of conditions and the following disclaimer in the documentation and/or other
materials provided with the distribution.
3. Neither the name of the copyright holder nor the names of its contributors may
be used to endorse or promote products derived from this software without specific
prior written permission.

THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND ANY
EXPRESS OR IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO, THE IMPLIED WARRANTIES
OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE DISCLAIMED. IN NO EVENT
SHALL THE COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT,
INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL DAMAGES (INCLUDING, BUT NOT LIMITED
TO, PROCUREMENT OF SUBSTITUTE GOODS OR SERVICES; LOSS OF USE, DATA, OR PROFITS; OR
BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER IN
CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY
WAY OUT OF THE USE OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.
`

const mpl2 = "This Source Code Form is subject to the terms of the Mozilla Public License, v. 2.0. " +
	"If a copy of the MPL was not distributed with this file, You can obtain one at https://mozilla.org/MPL/2.0/.\n"

const gpl3 = "This program is free software: you can redistribute it and/or modify it under the terms of the " +
	"GNU General Public License as published by the Free Software Foundation, either version 3 of the License, " +
	"or (at your option) any later version.\n"

func TestCheckNamesWhatIsWrong(t *testing.T) {
	for name, test := range map[string]struct {
		module, file, text, want string
	}{
		"BSD":                           {"example.org/m", "LICENSE", bsd3, ""},
		"BSD in another file":           {"example.org/m", "license.txt", bsd3, ""},
		"none":                          {"example.org/m", "README", bsd3, "no file with a licence"},
		"GPL":                           {"example.org/m", "COPYING", gpl3, "GPL-3.0-or-later is not accepted"},
		"two, one of them GPL":          {"example.org/m", "LICENSE", bsd3 + gpl3, "GPL-3.0-or-later is not accepted"},
		"MPL of any module":             {"example.org/m", "LICENSE", mpl2, "MPL-2.0 is not accepted"},
		"MPL of a module by name":       {"github.com/go-sql-driver/mysql", "LICENSE", mpl2, ""},
		"terms that nobody knows":       {"example.org/m", "LICENSE", "Do no evil with it.\n", "not a licence that is known"},
		"terms beside those of the BSD": {"example.org/m", "LICENSE", bsd3 + strings.Repeat("Pay us a fee for each day of use. ", 30), "% of it are known, as BSD-3-Clause"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, test.file), []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			inside := filepath.Join(dir, "internal", "p")
			if err := os.MkdirAll(inside, 0o700); err != nil {
				t.Fatal(err)
			}
			err := check(module{path: test.module, dir: dir, packages: []string{inside}})
			switch {
			case test.want == "" && err != nil:
				t.Errorf("got %v, want no problem", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want a problem that says %q", err, test.want)
			}
		})
	}
}

// A package that was copied from elsewhere has a licence of its own, below the one of
// the module that has it.
func TestCheckReadsTheLicenceOfAPackage(t *testing.T) {
	dir := t.TempDir()
	inside := filepath.Join(dir, "internal", "copied")
	if err := os.MkdirAll(inside, 0o700); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{filepath.Join(dir, "LICENSE"): bsd3, filepath.Join(inside, "LICENSE"): gpl3} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := check(module{path: "example.org/m", dir: dir, packages: []string{dir}}); err != nil {
		t.Errorf("that package is not linked: got %v, want no problem", err)
	}
	err := check(module{path: "example.org/m", dir: dir, packages: []string{dir, inside}})
	if err == nil || !strings.Contains(err.Error(), filepath.Join("internal", "copied", "LICENSE")) {
		t.Errorf("got %v, want a problem with the licence of the package", err)
	}
}
