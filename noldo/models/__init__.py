"""The networks of the papers: two U-Nets side by side or with one decoder, and one-modality networks with any decoder."""
