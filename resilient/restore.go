package resilient

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/RC918/morningai"
)

// RestoreState implements [morningai.Restorer]: of the shared engine, if that
// remembers it.
func (e *Engine) RestoreState(ctx context.Context) (morningai.RestoreState, error) {
	if r, ok := e.remote.(morningai.Restorer); ok {
		return r.RestoreState(ctx)
	}
	return morningai.RestoreState{}, nil
}

// SetRestoreState implements [morningai.Restorer].
func (e *Engine) SetRestoreState(ctx context.Context, s morningai.RestoreState) error {
	if r, ok := e.remote.(morningai.Restorer); ok {
		return r.SetRestoreState(ctx, s)
	}
	return nil
}

// Incidents returns the reports of outages that a journal keeps, newest first. It
// needs no shared engine.
func Incidents(ctx context.Context, journal morningai.Journal) ([]morningai.Incident, error) {
	notes, err := journal.Notes(ctx, noteIncident, 0, 2*keepIncidents)
	if err != nil {
		return nil, err
	}
	all := make([]morningai.Incident, len(notes))
	for i := range notes {
		if err := json.Unmarshal(notes[i].Data, &all[i]); err != nil {
			return nil, err
		}
	}
	slices.Reverse(all)
	return all, nil
}

// PutIncidents gives a journal reports of outages that have ended, newest first. One
// that it has is replaced.
func PutIncidents(ctx context.Context, journal morningai.Journal, all []morningai.Incident) error {
	notes := make([]morningai.Note, len(all))
	for i := range all {
		var err error
		if notes[len(all)-1-i], err = jsonNote(keyOf(noteIncident, all[i].ID), "", &all[i]); err != nil {
			return err
		}
	}
	return journal.Note(ctx, notes)
}
