"""Images on their way in and out, the room that they may take, and the lint that judges them."""
