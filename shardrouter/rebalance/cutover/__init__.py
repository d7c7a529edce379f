"""From the fence on the source to the commit of the epoch, and back."""
