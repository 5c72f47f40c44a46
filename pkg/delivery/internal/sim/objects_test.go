package sim_test

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/hms-utl/extsync/pkg/connectors"
	"github.com/hms-utl/extsync/pkg/events"
)

// idRef is the name of the id among what is remembered.
const idRef = "id"

// objects are what a target has that gives each object an id of its own, as its connector
// writes them: with the id that is remembered, after a look where it is not sure, else as a
// new one.
type objects struct {
	ids   map[string]string // by key
	given int
	wrong []error
}

func (o *objects) write(a *connectors.Attempt) connectors.Refs {
	id, there := a.Refs[idRef], o.ids[a.Key]
	if a.Unsure && id != there { // it looks, or is told that there is no such object, and looks
		id = there
	}
	if id != there {
		o.wrong = append(o.wrong, fmt.Errorf("%s of %s@%s is sure of the object %q, and the target has %q", a.Op, a.Key, a.Version, id, there))
	}
	if a.Op == events.Delete {
		delete(o.ids, a.Key)
		return nil
	}
	if id == "" {
		o.given++
		id = strconv.Itoa(o.given)
		if o.ids == nil {
			o.ids = map[string]string{}
		}
		o.ids[a.Key] = id
	}
	return connectors.Refs{idRef: id}
}

// err returns what was done to another object than the key's, or made a second one.
func (o *objects) err() error {
	if len(o.wrong) == 0 {
		return nil
	}
	return fmt.Errorf("one object for each key is violated: %w", errors.Join(o.wrong...))
}
