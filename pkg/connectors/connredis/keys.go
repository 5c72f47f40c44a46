package connredis

import "strings"

// syncSuffix ends the name of each hash in the layout value, and of no payload.
const syncSuffix = ":sync"

// keysOf returns the names that the script writes for a key: the hash, and in the layout
// value the payload's. ok is false if the two would be in different slots of a cluster.
func (c *connector) keysOf(key string) (names []string, ok bool) {
	name := c.prefix + key
	if c.cfg.Layout == hashLayout {
		return []string{name}, true
	}
	// A name that ends as those of hashes do has one colon more, and so has one that would be
	// taken for such a name with a colon more.
	if strings.HasSuffix(strings.TrimRight(name, ":"), syncSuffix) {
		name += ":"
	}
	hash, ok := beside(name)
	return []string{hash, name}, ok || !c.cfg.Cluster
}

// beside returns a name in the slot of another one, another one for each. A cluster takes the
// slot from the first part in braces that is not empty, or else from all of the name. ok is
// false where no name is as simple as that.
func beside(name string) (hash string, ok bool) {
	if _, after, opened := strings.Cut(name, "{"); opened {
		if tag, _, closed := strings.Cut(after, "}"); closed && tag != "" {
			return name + ":" + syncSuffix, true // not as {a} beside a
		}
	}
	return "{" + name + "}" + syncSuffix, !strings.Contains(name, "}")
}
