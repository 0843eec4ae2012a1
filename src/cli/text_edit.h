/* text_edit.h - a text handed to the user's editor. */
#ifndef R2I_TEXT_EDIT_H
#define R2I_TEXT_EDIT_H
#include "base/buffer.h"

/* Opens $VISUAL, $EDITOR or vi on a file with the text and reads back what was left there, without
 * the newline at its end.  The file is the user's alone and is removed.  R2_E_STATE: the editor is
 * not there or failed; R2_E_IO.  On failure the buffer's content is unspecified. */
R2_CHECKED r2_status r2i_text_edit(r2i_buffer *text, r2_error *err);
#endif
