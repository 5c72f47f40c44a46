package delivery

import (
	"errors"
	"testing"

	"github.com/hms-utl/extsync/pkg/connectors"
)

// A target that repeats what it refuses gave away what the channel hides.
func TestAnswersAreHiddenWithTheFields(t *testing.T) {
	refused := connectors.Failed(connectors.Permanent, "422", errors.New("PUT host answered 422"))
	refused.Response = `{"refused": {"ssn": "078-05-1120"}}`
	results := []connectors.Result{refused, connectors.Done()}
	hideAnswers(results)
	if results[0].Response != answerHidden || results[0].Code != "422" || results[1].Response != "" {
		t.Errorf("%+v", results)
	}
}
