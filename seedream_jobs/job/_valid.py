"""Says whether a job or a payload is valid.

Generated from schemas/ by ``python -m seedream_jobs.job.compile_schema``: don't edit.
"""

# A machine wrote this, and nobody reads it line by line.
# ruff: noqa
# fmt: off
# mypy: disable-error-code="unreachable"
from __future__ import annotations

from re import search
from typing import Any

_ABSENT: Any = object()

_job_0: Any = frozenset([1])
_job_1: Any = '^[^\\s/\\\\:,=#.\\u0000-\\u001f][^\\s/\\\\:,=#\\u0000-\\u001f]{0,99}$(?!\\n)'
_job_2: Any = frozenset([])
_job_3: Any = '^(?!(include|exclude|where|sample|zip|row|range|namespace|joiner|extra|and|or|not|in|is|if|else|true|false|none|True|False|None|loop|self|super|caller|varargs|kwargs)$)[A-Za-zÀ-ÖØ-öø-ɏΈ-ΊΎ-ΡΣ-ϡЀ-ҁҊ-ԯぁ-ゖァ-ヺ㐀-䶿一-鿿가-힣][A-Za-zÀ-ÖØ-öø-ɏΈ-ΊΎ-ΡΣ-ϡЀ-ҁҊ-ԯぁ-ゖァ-ヺ㐀-䶿一-鿿가-힣0-9_ー]*$(?!\\n)'
_job_4: Any = '^(?!(include|exclude|where|sample|zip|row|range|namespace|joiner|extra|and|or|not|in|is|if|else|true|false|none|True|False|None|loop|self|super|caller|varargs|kwargs)$)[A-Za-z][A-Za-z0-9_]*$(?!\\n)'
_job_5: Any = frozenset(['Doubao-Seedream-5.0-lite', 'doubao-seedream-5-0-lite', 'doubao-seedream-5.0-lite'])
_job_6: Any = frozenset(['16:9', '1:1', '21:9', '2:3', '3:2', '3:4', '4:3', '9:16', 'auto'])
_job_7: Any = frozenset(['2K', '3K', '4K'])
_job_8: Any = frozenset([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
_job_9: Any = '^(data:image/(jpeg|png);base64,[A-Za-z0-9+/]|https?://[^\\s/?#]|(?![A-Za-z][A-Za-z0-9+.-]*:)\\S)'
_job_10: Any = frozenset(['jpeg', 'png'])
_job_11: Any = frozenset(['auto', 'disabled'])
_job_12: Any = frozenset(['max_images'])
_job_13: Any = '^(?!(model|prompt|size|resolution|n|image_urls|output_format|sequential_image_generation|sequential_image_generation_options|watermark|extra)$)'
_job_14: Any = frozenset(['extra', 'image_urls', 'model', 'n', 'output_format', 'prompt', 'resolution', 'sequential_image_generation', 'sequential_image_generation_options', 'size', 'watermark'])
_job_15: Any = frozenset(['boolean', 'integer', 'number', 'string'])
_job_16: Any = frozenset(['column', 'from', 'glob', 'limit', 'range', 'types', 'where'])
_job_17: Any = frozenset(['column', 'from', 'limit', 'types', 'where'])
_job_18: Any = frozenset(['image_urls', 'model', 'n', 'output_format', 'prompt', 'resolution', 'sequential_image_generation', 'sequential_image_generation_options', 'size', 'watermark'])
_job_19: Any = frozenset(['pairwise', 'random'])
_job_20: Any = frozenset(['seed', 'size', 'strategy'])
_job_21: Any = '^(?!size$)'
_job_22: Any = frozenset(['exclude', 'image_urls', 'include', 'model', 'n', 'output_format', 'prompt', 'resolution', 'sample', 'sequential_image_generation', 'sequential_image_generation_options', 'size', 'watermark', 'where', 'zip'])
_job_23: Any = '^(?!(row|range|namespace|joiner|extra|and|or|not|in|is|if|else|true|false|none|True|False|None|loop|self|super|caller|varargs|kwargs)$)[A-Za-zÀ-ÖØ-öø-ɏΈ-ΊΎ-ΡΣ-ϡЀ-ҁҊ-ԯぁ-ゖァ-ヺ㐀-䶿一-鿿가-힣][A-Za-zÀ-ÖØ-öø-ɏΈ-ΊΎ-ΡΣ-ϡЀ-ҁҊ-ԯぁ-ゖァ-ヺ㐀-䶿一-鿿가-힣0-9_ー]*$(?!\\n)'
_job_24: Any = '^(?!(row|range|namespace|joiner|extra|and|or|not|in|is|if|else|true|false|none|True|False|None|loop|self|super|caller|varargs|kwargs)$)[A-Za-z][A-Za-z0-9_]*$(?!\\n)'
_job_25: Any = frozenset(['budget_usd', 'max_requests'])
_job_26: Any = frozenset(['doubled-spaces', 'fullwidth-comma', 'identical-prompts', 'invisible-character', 'leftover-braces', 'line-break', 'long-prompt', 'n-against-sequential', 'smart-quotes', 'unused-axis', 'value-not-shown'])
_job_27: Any = frozenset(['ignore'])
_job_28: Any = frozenset(['dir', 'name'])
_job_29: Any = frozenset(['limits', 'lint', 'matrix', 'name', 'output', 'repeat', 'request', 'vars', 'version'])
_job_30: Any = '^x-'

def job(v: Any) -> bool:
    return bool(((not isinstance(v, dict) or (((v1 := v.get('version', _ABSENT)) is _ABSENT or ((isinstance(v1, int) and v1 is not True and v1 is not False) and v1 in _job_0)) and ((v2 := v.get('name', _ABSENT)) is _ABSENT or (isinstance(v2, str) and search(_job_1, v2) is not None)) and ((v3 := v.get('vars', _ABSENT)) is _ABSENT or ((not isinstance(v3, dict) or _job_each_0(v3)) and (not isinstance(v3, dict) or _job_each_1(v3)) and (isinstance(v3, dict)))) and ((v4 := v.get('request', _ABSENT)) is _ABSENT or ((not isinstance(v4, dict) or (((v5 := v4.get('model', _ABSENT)) is _ABSENT or _job_model(v5)) and ((v6 := v4.get('prompt', _ABSENT)) is _ABSENT or (isinstance(v6, str) and (v6 and not v6.isspace()))) and ((v7 := v4.get('size', _ABSENT)) is _ABSENT or _job_size(v7)) and ((v8 := v4.get('resolution', _ABSENT)) is _ABSENT or _job_resolution(v8)) and ((v9 := v4.get('n', _ABSENT)) is _ABSENT or _job_n(v9)) and ((v10 := v4.get('image_urls', _ABSENT)) is _ABSENT or (isinstance(v10, list) and _job_each_2(v10))) and ((v11 := v4.get('output_format', _ABSENT)) is _ABSENT or _job_output_format(v11)) and ((v12 := v4.get('sequential_image_generation', _ABSENT)) is _ABSENT or _job_sequential_image_generation(v12)) and ((v13 := v4.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or _job_sequential_image_generation_options(v13)) and ((v15 := v4.get('watermark', _ABSENT)) is _ABSENT or _job_watermark(v15)) and ((v16 := v4.get('extra', _ABSENT)) is _ABSENT or ((not isinstance(v16, dict) or _job_each_3(v16)) and (isinstance(v16, dict)))))) and (not isinstance(v4, dict) or v4.keys() <= _job_14) and (isinstance(v4, dict)) and ((((not isinstance(v4, dict) or (((v17 := v4.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v17, list) or len(v17) <= 14)))))) or not (not ((not isinstance(v4, dict) or ('n' in v4)))))) and ((((not isinstance(v4, dict) or (((v19 := v4.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v19, list) or len(v19) <= 14)))))) or not ((not isinstance(v4, dict) or ('n' in v4)) and (not isinstance(v4, dict) or (((v18 := v4.get('n', _ABSENT)) is _ABSENT or ((v18 == 1 and v18 is not True and v18 is not False)))))))) and ((((not isinstance(v4, dict) or (((v21 := v4.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v21, list) or len(v21) <= 13)))))) or not ((not isinstance(v4, dict) or ('n' in v4)) and (not isinstance(v4, dict) or (((v20 := v4.get('n', _ABSENT)) is _ABSENT or ((v20 == 2 and v20 is not True and v20 is not False)))))))) and ((((not isinstance(v4, dict) or (((v23 := v4.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v23, list) or len(v23) <= 12)))))) or not ((not isinstance(v4, dict) or ('n' in v4)) and (not isinstance(v4, dict) or (((v22 := v4.get('n', _ABSENT)) is _ABSENT or ((v22 == 3 and v22 is not True and v22 is not False)))))))) and ((((not isinstance(v4, dict) or (((v25 := v4.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v25, list) or len(v25) <= 11)))))) or not ((not isinstance(v4, dict) or ('n' in v4)) and (not isinstance(v4, dict) or (((v24 := v4.get('n', _ABSENT)) is _ABSENT or ((v24 == 4 and v24 is not True and v24 is not False)))))))) and ((((not isinstance(v4, dict) or (((v27 := v4.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v27, list) or len(v27) <= 10)))))) or not ((not isinstance(v4, dict) or ('n' in v4)) and (not isinstance(v4, dict) or (((v26 := v4.get('n', _ABSENT)) is _ABSENT or ((v26 == 5 and v26 is not True and v26 is not False)))))))) and ((((not isinstance(v4, dict) or (((v29 := v4.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v29, list) or len(v29) <= 9)))))) or not ((not isinstance(v4, dict) or ('n' in v4)) and (not isinstance(v4, dict) or (((v28 := v4.get('n', _ABSENT)) is _ABSENT or ((v28 == 6 and v28 is not True and v28 is not False)))))))) and ((((not isinstance(v4, dict) or (((v31 := v4.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v31, list) or len(v31) <= 8)))))) or not ((not isinstance(v4, dict) or ('n' in v4)) and (not isinstance(v4, dict) or (((v30 := v4.get('n', _ABSENT)) is _ABSENT or ((v30 == 7 and v30 is not True and v30 is not False)))))))) and ((((not isinstance(v4, dict) or (((v33 := v4.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v33, list) or len(v33) <= 7)))))) or not ((not isinstance(v4, dict) or ('n' in v4)) and (not isinstance(v4, dict) or (((v32 := v4.get('n', _ABSENT)) is _ABSENT or ((v32 == 8 and v32 is not True and v32 is not False)))))))) and ((((not isinstance(v4, dict) or (((v35 := v4.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v35, list) or len(v35) <= 6)))))) or not ((not isinstance(v4, dict) or ('n' in v4)) and (not isinstance(v4, dict) or (((v34 := v4.get('n', _ABSENT)) is _ABSENT or ((v34 == 9 and v34 is not True and v34 is not False)))))))) and ((((not isinstance(v4, dict) or (((v37 := v4.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v37, list) or len(v37) <= 5)))))) or not ((not isinstance(v4, dict) or ('n' in v4)) and (not isinstance(v4, dict) or (((v36 := v4.get('n', _ABSENT)) is _ABSENT or ((v36 == 10 and v36 is not True and v36 is not False)))))))) and ((((not isinstance(v4, dict) or (((v39 := v4.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v39, list) or len(v39) <= 4)))))) or not ((not isinstance(v4, dict) or ('n' in v4)) and (not isinstance(v4, dict) or (((v38 := v4.get('n', _ABSENT)) is _ABSENT or ((v38 == 11 and v38 is not True and v38 is not False)))))))) and ((((not isinstance(v4, dict) or (((v41 := v4.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v41, list) or len(v41) <= 3)))))) or not ((not isinstance(v4, dict) or ('n' in v4)) and (not isinstance(v4, dict) or (((v40 := v4.get('n', _ABSENT)) is _ABSENT or ((v40 == 12 and v40 is not True and v40 is not False)))))))) and ((((not isinstance(v4, dict) or (((v43 := v4.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v43, list) or len(v43) <= 2)))))) or not ((not isinstance(v4, dict) or ('n' in v4)) and (not isinstance(v4, dict) or (((v42 := v4.get('n', _ABSENT)) is _ABSENT or ((v42 == 13 and v42 is not True and v42 is not False)))))))) and ((((not isinstance(v4, dict) or (((v45 := v4.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v45, list) or len(v45) <= 1)))))) or not ((not isinstance(v4, dict) or ('n' in v4)) and (not isinstance(v4, dict) or (((v44 := v4.get('n', _ABSENT)) is _ABSENT or ((v44 == 14 and v44 is not True and v44 is not False)))))))) and ((((not isinstance(v4, dict) or (((v47 := v4.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v47, list) or len(v47) <= 0)))))) or not ((not isinstance(v4, dict) or ('n' in v4)) and (not isinstance(v4, dict) or (((v46 := v4.get('n', _ABSENT)) is _ABSENT or ((v46 == 15 and v46 is not True and v46 is not False)))))))) and ((((not isinstance(v4, dict) or (((v50 := v4.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v50, list) or len(v50) <= 14)))))) or not ((not isinstance(v4, dict) or ('sequential_image_generation_options' in v4)) and (not isinstance(v4, dict) or (((v48 := v4.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v48, dict) or ('max_images' in v48)) and (not isinstance(v48, dict) or (((v49 := v48.get('max_images', _ABSENT)) is _ABSENT or ((v49 == 1 and v49 is not True and v49 is not False)))))))))))) and ((((not isinstance(v4, dict) or (((v53 := v4.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v53, list) or len(v53) <= 13)))))) or not ((not isinstance(v4, dict) or ('sequential_image_generation_options' in v4)) and (not isinstance(v4, dict) or (((v51 := v4.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v51, dict) or ('max_images' in v51)) and (not isinstance(v51, dict) or (((v52 := v51.get('max_images', _ABSENT)) is _ABSENT or ((v52 == 2 and v52 is not True and v52 is not False)))))))))))) and ((((not isinstance(v4, dict) or (((v56 := v4.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v56, list) or len(v56) <= 12)))))) or not ((not isinstance(v4, dict) or ('sequential_image_generation_options' in v4)) and (not isinstance(v4, dict) or (((v54 := v4.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v54, dict) or ('max_images' in v54)) and (not isinstance(v54, dict) or (((v55 := v54.get('max_images', _ABSENT)) is _ABSENT or ((v55 == 3 and v55 is not True and v55 is not False)))))))))))) and ((((not isinstance(v4, dict) or (((v59 := v4.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v59, list) or len(v59) <= 11)))))) or not ((not isinstance(v4, dict) or ('sequential_image_generation_options' in v4)) and (not isinstance(v4, dict) or (((v57 := v4.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v57, dict) or ('max_images' in v57)) and (not isinstance(v57, dict) or (((v58 := v57.get('max_images', _ABSENT)) is _ABSENT or ((v58 == 4 and v58 is not True and v58 is not False)))))))))))) and ((((not isinstance(v4, dict) or (((v62 := v4.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v62, list) or len(v62) <= 10)))))) or not ((not isinstance(v4, dict) or ('sequential_image_generation_options' in v4)) and (not isinstance(v4, dict) or (((v60 := v4.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v60, dict) or ('max_images' in v60)) and (not isinstance(v60, dict) or (((v61 := v60.get('max_images', _ABSENT)) is _ABSENT or ((v61 == 5 and v61 is not True and v61 is not False)))))))))))) and ((((not isinstance(v4, dict) or (((v65 := v4.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v65, list) or len(v65) <= 9)))))) or not ((not isinstance(v4, dict) or ('sequential_image_generation_options' in v4)) and (not isinstance(v4, dict) or (((v63 := v4.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v63, dict) or ('max_images' in v63)) and (not isinstance(v63, dict) or (((v64 := v63.get('max_images', _ABSENT)) is _ABSENT or ((v64 == 6 and v64 is not True and v64 is not False)))))))))))) and ((((not isinstance(v4, dict) or (((v68 := v4.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v68, list) or len(v68) <= 8)))))) or not ((not isinstance(v4, dict) or ('sequential_image_generation_options' in v4)) and (not isinstance(v4, dict) or (((v66 := v4.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v66, dict) or ('max_images' in v66)) and (not isinstance(v66, dict) or (((v67 := v66.get('max_images', _ABSENT)) is _ABSENT or ((v67 == 7 and v67 is not True and v67 is not False)))))))))))) and ((((not isinstance(v4, dict) or (((v71 := v4.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v71, list) or len(v71) <= 7)))))) or not ((not isinstance(v4, dict) or ('sequential_image_generation_options' in v4)) and (not isinstance(v4, dict) or (((v69 := v4.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v69, dict) or ('max_images' in v69)) and (not isinstance(v69, dict) or (((v70 := v69.get('max_images', _ABSENT)) is _ABSENT or ((v70 == 8 and v70 is not True and v70 is not False)))))))))))) and ((((not isinstance(v4, dict) or (((v74 := v4.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v74, list) or len(v74) <= 6)))))) or not ((not isinstance(v4, dict) or ('sequential_image_generation_options' in v4)) and (not isinstance(v4, dict) or (((v72 := v4.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v72, dict) or ('max_images' in v72)) and (not isinstance(v72, dict) or (((v73 := v72.get('max_images', _ABSENT)) is _ABSENT or ((v73 == 9 and v73 is not True and v73 is not False)))))))))))) and ((((not isinstance(v4, dict) or (((v77 := v4.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v77, list) or len(v77) <= 5)))))) or not ((not isinstance(v4, dict) or ('sequential_image_generation_options' in v4)) and (not isinstance(v4, dict) or (((v75 := v4.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v75, dict) or ('max_images' in v75)) and (not isinstance(v75, dict) or (((v76 := v75.get('max_images', _ABSENT)) is _ABSENT or ((v76 == 10 and v76 is not True and v76 is not False)))))))))))) and ((((not isinstance(v4, dict) or (((v80 := v4.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v80, list) or len(v80) <= 4)))))) or not ((not isinstance(v4, dict) or ('sequential_image_generation_options' in v4)) and (not isinstance(v4, dict) or (((v78 := v4.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v78, dict) or ('max_images' in v78)) and (not isinstance(v78, dict) or (((v79 := v78.get('max_images', _ABSENT)) is _ABSENT or ((v79 == 11 and v79 is not True and v79 is not False)))))))))))) and ((((not isinstance(v4, dict) or (((v83 := v4.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v83, list) or len(v83) <= 3)))))) or not ((not isinstance(v4, dict) or ('sequential_image_generation_options' in v4)) and (not isinstance(v4, dict) or (((v81 := v4.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v81, dict) or ('max_images' in v81)) and (not isinstance(v81, dict) or (((v82 := v81.get('max_images', _ABSENT)) is _ABSENT or ((v82 == 12 and v82 is not True and v82 is not False)))))))))))) and ((((not isinstance(v4, dict) or (((v86 := v4.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v86, list) or len(v86) <= 2)))))) or not ((not isinstance(v4, dict) or ('sequential_image_generation_options' in v4)) and (not isinstance(v4, dict) or (((v84 := v4.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v84, dict) or ('max_images' in v84)) and (not isinstance(v84, dict) or (((v85 := v84.get('max_images', _ABSENT)) is _ABSENT or ((v85 == 13 and v85 is not True and v85 is not False)))))))))))) and ((((not isinstance(v4, dict) or (((v89 := v4.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v89, list) or len(v89) <= 1)))))) or not ((not isinstance(v4, dict) or ('sequential_image_generation_options' in v4)) and (not isinstance(v4, dict) or (((v87 := v4.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v87, dict) or ('max_images' in v87)) and (not isinstance(v87, dict) or (((v88 := v87.get('max_images', _ABSENT)) is _ABSENT or ((v88 == 14 and v88 is not True and v88 is not False)))))))))))) and ((((not isinstance(v4, dict) or (((v92 := v4.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v92, list) or len(v92) <= 0)))))) or not ((not isinstance(v4, dict) or ('sequential_image_generation_options' in v4)) and (not isinstance(v4, dict) or (((v90 := v4.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v90, dict) or ('max_images' in v90)) and (not isinstance(v90, dict) or (((v91 := v90.get('max_images', _ABSENT)) is _ABSENT or ((v91 == 15 and v91 is not True and v91 is not False)))))))))))))) and ((v93 := v.get('matrix', _ABSENT)) is _ABSENT or ((not isinstance(v93, dict) or (((v94 := v93.get('model', _ABSENT)) is _ABSENT or _job_modelAxis(v94)) and ((v102 := v93.get('prompt', _ABSENT)) is _ABSENT or _job_promptAxis(v102)) and ((v103 := v93.get('size', _ABSENT)) is _ABSENT or _job_sizeAxis(v103)) and ((v104 := v93.get('resolution', _ABSENT)) is _ABSENT or _job_resolutionAxis(v104)) and ((v105 := v93.get('n', _ABSENT)) is _ABSENT or _job_nAxis(v105)) and ((v106 := v93.get('image_urls', _ABSENT)) is _ABSENT or _job_image_urlsAxis(v106)) and ((v107 := v93.get('output_format', _ABSENT)) is _ABSENT or _job_output_formatAxis(v107)) and ((v108 := v93.get('sequential_image_generation', _ABSENT)) is _ABSENT or _job_sequential_image_generationAxis(v108)) and ((v109 := v93.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or _job_sequential_image_generation_optionsAxis(v109)) and ((v110 := v93.get('watermark', _ABSENT)) is _ABSENT or _job_watermarkAxis(v110)) and ((v111 := v93.get('where', _ABSENT)) is _ABSENT or (isinstance(v111, str) and (v111 and not v111.isspace()))) and ((v112 := v93.get('exclude', _ABSENT)) is _ABSENT or (isinstance(v112, list) and _job_each_20(v112))) and ((v113 := v93.get('include', _ABSENT)) is _ABSENT or (isinstance(v113, list) and _job_each_23(v113))) and ((v124 := v93.get('zip', _ABSENT)) is _ABSENT or _job_zipColumns(v124)) and ((v136 := v93.get('sample', _ABSENT)) is _ABSENT or ((not isinstance(v136, dict) or (((v137 := v136.get('strategy', _ABSENT)) is _ABSENT or (isinstance(v137, str) and v137 in _job_19)) and ((v138 := v136.get('size', _ABSENT)) is _ABSENT or ((isinstance(v138, int) and v138 is not True and v138 is not False) and not v138 < 1)) and ((v139 := v136.get('seed', _ABSENT)) is _ABSENT or ((isinstance(v139, int) and v139 is not True and v139 is not False))))) and (not isinstance(v136, dict) or v136.keys() <= _job_20) and (isinstance(v136, dict)) and (((not isinstance(v136, dict) or _job_each_27(v136))) if ((not isinstance(v136, dict) or ('strategy' in v136)) and (not isinstance(v136, dict) or (((v140 := v136.get('strategy', _ABSENT)) is _ABSENT or ((v140 == 'pairwise')))))) else ((not isinstance(v136, dict) or ('size' in v136)))))))) and (not isinstance(v93, dict) or _job_each_29(v93)) and (not isinstance(v93, dict) or _job_each_30(v93)) and (isinstance(v93, dict)))) and ((v142 := v.get('repeat', _ABSENT)) is _ABSENT or ((isinstance(v142, int) and v142 is not True and v142 is not False) and not v142 < 1)) and ((v143 := v.get('limits', _ABSENT)) is _ABSENT or ((not isinstance(v143, dict) or (((v144 := v143.get('max_requests', _ABSENT)) is _ABSENT or ((isinstance(v144, int) and v144 is not True and v144 is not False) and not v144 < 1)) and ((v145 := v143.get('budget_usd', _ABSENT)) is _ABSENT or ((isinstance(v145, (int, float)) and v145 is not True and v145 is not False) and not v145 < 0 and not v145 > 1000000000)))) and (not isinstance(v143, dict) or v143.keys() <= _job_25) and (isinstance(v143, dict)))) and ((v146 := v.get('lint', _ABSENT)) is _ABSENT or ((not isinstance(v146, dict) or (((v147 := v146.get('ignore', _ABSENT)) is _ABSENT or ((not isinstance(v147, list) or _job_each_31(v147)) and (isinstance(v147, list)))))) and (not isinstance(v146, dict) or v146.keys() <= _job_27) and (isinstance(v146, dict)))) and ((v148 := v.get('output', _ABSENT)) is _ABSENT or ((not isinstance(v148, dict) or (((v149 := v148.get('dir', _ABSENT)) is _ABSENT or (isinstance(v149, str) and (v149 and not v149.isspace()))) and ((v150 := v148.get('name', _ABSENT)) is _ABSENT or (isinstance(v150, str) and (v150 and not v150.isspace()))))) and (not isinstance(v148, dict) or v148.keys() <= _job_28) and (isinstance(v148, dict)))))) and (not isinstance(v, dict) or _job_each_32(v)) and (isinstance(v, dict)) and ((not isinstance(v, dict) or ('version' in v))) and ((not isinstance(v, dict) or ('request' in v))) and ((((not isinstance(v, dict) or (((v151 := v.get('request', _ABSENT)) is _ABSENT or ((not isinstance(v151, dict) or ('prompt' in v151))))))) or ((not isinstance(v, dict) or ('matrix' in v)))))))

def _job_each_0(v: Any) -> bool:
    for k, x in v.items():
        if not (k in _job_2 or ((isinstance(x, str) or (isinstance(x, (int, float)) and x is not True and x is not False) or (x is True or x is False) or isinstance(x, list) or isinstance(x, dict)))):
            return False
    return True

def _job_each_1(v: Any) -> bool:
    for x in v:
        if not (((not isinstance(x, str) or search(_job_4 if x.isascii() else _job_3, x) is not None))):
            return False
    return True

def _job_model(v: Any) -> bool:
    return bool((isinstance(v, str) and v in _job_5))

def _job_size(v: Any) -> bool:
    return bool((isinstance(v, str) and ((isinstance(v, str) and v in _job_6))))

def _job_resolution(v: Any) -> bool:
    return bool((isinstance(v, str) and ((isinstance(v, str) and v in _job_7))))

def _job_n(v: Any) -> bool:
    return bool(((isinstance(v, int) and v is not True and v is not False) and v in _job_8))

def _job_reference(v: Any) -> bool:
    return bool((isinstance(v, str) and search(_job_9, v) is not None))

def _job_each_2(v: Any) -> bool:
    for x in v:
        if not (_job_reference(x)):
            return False
    return True

def _job_output_format(v: Any) -> bool:
    return bool((isinstance(v, str) and v in _job_10))

def _job_sequential_image_generation(v: Any) -> bool:
    return bool((isinstance(v, str) and v in _job_11))

def _job_sequential_image_generation_options(v: Any) -> bool:
    return bool(((not isinstance(v, dict) or (((v14 := v.get('max_images', _ABSENT)) is _ABSENT or ((isinstance(v14, int) and v14 is not True and v14 is not False) and v14 in _job_8)))) and (not isinstance(v, dict) or v.keys() <= _job_12) and (isinstance(v, dict))))

def _job_watermark(v: Any) -> bool:
    return bool(((v is True or v is False)))

def _job_each_3(v: Any) -> bool:
    for x in v:
        if not (((not isinstance(x, str) or search(_job_13, x) is not None))):
            return False
    return True

def _job_modelAxis(v: Any) -> bool:
    return bool(((not isinstance(v, list) or _job_each_4(v)) and _job_axis(v)))

def _job_each_4(v: Any) -> bool:
    for x in v:
        if not (_job_model(x)):
            return False
    return True

def _job_axis(v: Any) -> bool:
    return bool((((isinstance(v, list) or isinstance(v, dict))) and ((not isinstance(v, list) or len(v) >= 1)) and ((not isinstance(v, dict) or (((v95 := v.get('from', _ABSENT)) is _ABSENT or (isinstance(v95, str) and (v95 and not v95.isspace()))) and ((v96 := v.get('column', _ABSENT)) is _ABSENT or (isinstance(v96, str) and (v96 and not v96.isspace()))) and ((v97 := v.get('where', _ABSENT)) is _ABSENT or (isinstance(v97, str) and (v97 and not v97.isspace()))) and ((v98 := v.get('limit', _ABSENT)) is _ABSENT or ((isinstance(v98, int) and v98 is not True and v98 is not False) and not v98 < 1)) and ((v99 := v.get('types', _ABSENT)) is _ABSENT or (isinstance(v99, dict) and _job_each_5(v99))) and ((v100 := v.get('glob', _ABSENT)) is _ABSENT or (isinstance(v100, str) and (v100 and not v100.isspace()))) and ((v101 := v.get('range', _ABSENT)) is _ABSENT or (isinstance(v101, list) and len(v101) >= 2 and len(v101) <= 3 and _job_each_6(v101))))) and (not isinstance(v, dict) or v.keys() <= _job_16)) and (((((not isinstance(v, dict) or _job_each_7(v))) if ((not isinstance(v, dict) or ('from' in v))) else ((((not isinstance(v, dict) or _job_each_8(v))) if ((not isinstance(v, dict) or ('glob' in v))) else ((((not isinstance(v, dict) or _job_each_9(v))) if ((not isinstance(v, dict) or ('range' in v))) else ((not isinstance(v, dict) or ('from' in v))))))))) or not (isinstance(v, dict)))))

def _job_each_5(v: Any) -> bool:
    for k, x in v.items():
        if not (k in _job_2 or ((isinstance(x, str) and x in _job_15))):
            return False
    return True

def _job_each_6(v: Any) -> bool:
    for x in v:
        if not (((isinstance(x, (int, float)) and x is not True and x is not False))):
            return False
    return True

def _job_each_7(v: Any) -> bool:
    for x in v:
        if not (((isinstance(x, str) and x in _job_17))):
            return False
    return True

def _job_each_8(v: Any) -> bool:
    for x in v:
        if not (((x == 'glob'))):
            return False
    return True

def _job_each_9(v: Any) -> bool:
    for x in v:
        if not (((x == 'range'))):
            return False
    return True

def _job_promptAxis(v: Any) -> bool:
    return bool(((not isinstance(v, list) or _job_each_10(v)) and _job_axis(v)))

def _job_promptValue(v: Any) -> bool:
    return bool((isinstance(v, str) and (v and not v.isspace())))

def _job_each_10(v: Any) -> bool:
    for x in v:
        if not (_job_promptValue(x)):
            return False
    return True

def _job_sizeAxis(v: Any) -> bool:
    return bool(((not isinstance(v, list) or _job_each_11(v)) and _job_axis(v)))

def _job_each_11(v: Any) -> bool:
    for x in v:
        if not (_job_size(x)):
            return False
    return True

def _job_resolutionAxis(v: Any) -> bool:
    return bool(((not isinstance(v, list) or _job_each_12(v)) and _job_axis(v)))

def _job_each_12(v: Any) -> bool:
    for x in v:
        if not (_job_resolution(x)):
            return False
    return True

def _job_nAxis(v: Any) -> bool:
    return bool(((not isinstance(v, list) or _job_each_13(v)) and _job_axis(v)))

def _job_each_13(v: Any) -> bool:
    for x in v:
        if not (_job_n(x)):
            return False
    return True

def _job_image_urlsAxis(v: Any) -> bool:
    return bool(((not isinstance(v, list) or _job_each_15(v)) and _job_axis(v)))

def _job_referenceValue(v: Any) -> bool:
    return bool(((isinstance(v, str) or isinstance(v, list)) and (not isinstance(v, list) or _job_each_14(v)) and (_job_reference(v) or not (isinstance(v, str)))))

def _job_each_14(v: Any) -> bool:
    for x in v:
        if not (_job_reference(x)):
            return False
    return True

def _job_each_15(v: Any) -> bool:
    for x in v:
        if not (_job_referenceValue(x)):
            return False
    return True

def _job_output_formatAxis(v: Any) -> bool:
    return bool(((not isinstance(v, list) or _job_each_16(v)) and _job_axis(v)))

def _job_each_16(v: Any) -> bool:
    for x in v:
        if not (_job_output_format(x)):
            return False
    return True

def _job_sequential_image_generationAxis(v: Any) -> bool:
    return bool(((not isinstance(v, list) or _job_each_17(v)) and _job_axis(v)))

def _job_each_17(v: Any) -> bool:
    for x in v:
        if not (_job_sequential_image_generation(x)):
            return False
    return True

def _job_sequential_image_generation_optionsAxis(v: Any) -> bool:
    return bool(((not isinstance(v, list) or _job_each_18(v)) and _job_axis(v)))

def _job_each_18(v: Any) -> bool:
    for x in v:
        if not (_job_sequential_image_generation_options(x)):
            return False
    return True

def _job_watermarkAxis(v: Any) -> bool:
    return bool(((not isinstance(v, list) or _job_each_19(v)) and _job_axis(v)))

def _job_each_19(v: Any) -> bool:
    for x in v:
        if not (_job_watermark(x)):
            return False
    return True

def _job_match(v: Any) -> bool:
    return bool(((isinstance(v, dict)) and ((not isinstance(v, dict) or len(v) >= 1))))

def _job_each_20(v: Any) -> bool:
    for x in v:
        if not (_job_match(x)):
            return False
    return True

def _job_addition(v: Any) -> bool:
    return bool(((not isinstance(v, dict) or (((v114 := v.get('model', _ABSENT)) is _ABSENT or _job_model(v114)) and ((v115 := v.get('prompt', _ABSENT)) is _ABSENT or _job_promptValue(v115)) and ((v116 := v.get('size', _ABSENT)) is _ABSENT or _job_size(v116)) and ((v117 := v.get('resolution', _ABSENT)) is _ABSENT or _job_resolution(v117)) and ((v118 := v.get('n', _ABSENT)) is _ABSENT or _job_n(v118)) and ((v119 := v.get('image_urls', _ABSENT)) is _ABSENT or _job_referenceValue(v119)) and ((v120 := v.get('output_format', _ABSENT)) is _ABSENT or _job_output_format(v120)) and ((v121 := v.get('sequential_image_generation', _ABSENT)) is _ABSENT or _job_sequential_image_generation(v121)) and ((v122 := v.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or _job_sequential_image_generation_options(v122)) and ((v123 := v.get('watermark', _ABSENT)) is _ABSENT or _job_watermark(v123)))) and (not isinstance(v, dict) or _job_each_21(v)) and (not isinstance(v, dict) or _job_each_22(v)) and (isinstance(v, dict)) and ((not isinstance(v, dict) or len(v) >= 1))))

def _job_each_21(v: Any) -> bool:
    for k, x in v.items():
        if not (k in _job_18 or ((isinstance(x, str) or (isinstance(x, (int, float)) and x is not True and x is not False) or (x is True or x is False) or isinstance(x, list) or isinstance(x, dict)))):
            return False
    return True

def _job_each_22(v: Any) -> bool:
    for x in v:
        if not (((not isinstance(x, str) or search(_job_4 if x.isascii() else _job_3, x) is not None))):
            return False
    return True

def _job_each_23(v: Any) -> bool:
    for x in v:
        if not (_job_addition(x)):
            return False
    return True

def _job_zipColumns(v: Any) -> bool:
    return bool(((not isinstance(v, dict) or (((v125 := v.get('model', _ABSENT)) is _ABSENT or _job_modelAxis(v125)) and ((v126 := v.get('prompt', _ABSENT)) is _ABSENT or _job_promptAxis(v126)) and ((v127 := v.get('size', _ABSENT)) is _ABSENT or _job_sizeAxis(v127)) and ((v128 := v.get('resolution', _ABSENT)) is _ABSENT or _job_resolutionAxis(v128)) and ((v129 := v.get('n', _ABSENT)) is _ABSENT or _job_nAxis(v129)) and ((v130 := v.get('image_urls', _ABSENT)) is _ABSENT or _job_image_urlsAxis(v130)) and ((v131 := v.get('output_format', _ABSENT)) is _ABSENT or _job_output_formatAxis(v131)) and ((v132 := v.get('sequential_image_generation', _ABSENT)) is _ABSENT or _job_sequential_image_generationAxis(v132)) and ((v133 := v.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or _job_sequential_image_generation_optionsAxis(v133)) and ((v134 := v.get('watermark', _ABSENT)) is _ABSENT or _job_watermarkAxis(v134)))) and (not isinstance(v, dict) or _job_each_25(v)) and (not isinstance(v, dict) or _job_each_26(v)) and (isinstance(v, dict)) and ((not isinstance(v, dict) or len(v) >= 1))))

def _job_freeColumn(v: Any) -> bool:
    return bool(((not isinstance(v, list) or _job_each_24(v)) and _job_axis(v)))

def _job_axisValue(v: Any) -> bool:
    return bool(((not isinstance(v, dict) or (((v135 := v.get('id', _ABSENT)) is _ABSENT or ((isinstance(v135, str) or (isinstance(v135, (int, float)) and v135 is not True and v135 is not False) or (v135 is True or v135 is False)) and (not isinstance(v135, str) or (v135 and not v135.isspace())))))) and ((isinstance(v, str) or (isinstance(v, (int, float)) and v is not True and v is not False) or (v is True or v is False) or isinstance(v, list) or isinstance(v, dict))) and ((not isinstance(v, dict) or ('id' in v)))))

def _job_each_24(v: Any) -> bool:
    for x in v:
        if not (_job_axisValue(x)):
            return False
    return True

def _job_each_25(v: Any) -> bool:
    for k, x in v.items():
        if not (k in _job_18 or _job_freeColumn(x)):
            return False
    return True

def _job_each_26(v: Any) -> bool:
    for x in v:
        if not (((not isinstance(x, str) or search(_job_4 if x.isascii() else _job_3, x) is not None))):
            return False
    return True

def _job_each_27(v: Any) -> bool:
    for x in v:
        if not (((not isinstance(x, str) or search(_job_21, x) is not None))):
            return False
    return True

def _job_freeAxis(v: Any) -> bool:
    return bool(((((not isinstance(v, dict) or (((v141 := v.get('zip', _ABSENT)) is _ABSENT or _job_zipColumns(v141)))) and (not isinstance(v, dict) or _job_each_28(v))) if (isinstance(v, dict) and ('zip' in v)) else _job_freeColumn(v))))

def _job_each_28(v: Any) -> bool:
    for x in v:
        if not (((x == 'zip'))):
            return False
    return True

def _job_each_29(v: Any) -> bool:
    for k, x in v.items():
        if not (k in _job_22 or _job_freeAxis(x)):
            return False
    return True

def _job_each_30(v: Any) -> bool:
    for x in v:
        if not (((not isinstance(x, str) or search(_job_24 if x.isascii() else _job_23, x) is not None))):
            return False
    return True

def _job_each_31(v: Any) -> bool:
    for x in v:
        if not (((isinstance(x, str) and x in _job_26))):
            return False
    return True

def _job_each_32(v: Any) -> bool:
    for k, x in v.items():
        if not (k in _job_29 or search(_job_30, k) is not None or False):
            return False
    return True

_payload_0: Any = frozenset(['Doubao-Seedream-5.0-lite', 'doubao-seedream-5-0-lite', 'doubao-seedream-5.0-lite'])
_payload_1: Any = frozenset(['16:9', '1:1', '21:9', '2:3', '3:2', '3:4', '4:3', '9:16', 'auto'])
_payload_2: Any = frozenset(['2K', '3K', '4K'])
_payload_3: Any = frozenset([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
_payload_4: Any = '^(https?://[^\\s/?#]\\S*$(?!\\s)|data:image/(jpeg|png);base64,[A-Za-z0-9+/])'
_payload_5: Any = frozenset(['jpeg', 'png'])
_payload_6: Any = frozenset(['auto', 'disabled'])
_payload_7: Any = frozenset(['max_images'])
_payload_8: Any = frozenset(['image_urls', 'model', 'n', 'output_format', 'prompt', 'resolution', 'sequential_image_generation', 'sequential_image_generation_options', 'size', 'watermark'])
_payload_9: Any = '^(?!auto$)'
_payload_10: Any = '^(?!max_images$)'

def payload(v: Any) -> bool:
    return bool((isinstance(v, dict) and (((v1 := v.get('model', _ABSENT)) is _ABSENT or (isinstance(v1, str) and v1 in _payload_0)) and ((v2 := v.get('prompt', _ABSENT)) is _ABSENT or (isinstance(v2, str) and (v2 and not v2.isspace()))) and ((v3 := v.get('size', _ABSENT)) is _ABSENT or (isinstance(v3, str) and ((isinstance(v3, str) and v3 in _payload_1)))) and ((v4 := v.get('resolution', _ABSENT)) is _ABSENT or (isinstance(v4, str) and ((isinstance(v4, str) and v4 in _payload_2)))) and ((v5 := v.get('n', _ABSENT)) is _ABSENT or ((isinstance(v5, int) and v5 is not True and v5 is not False) and v5 in _payload_3)) and ((v6 := v.get('image_urls', _ABSENT)) is _ABSENT or (isinstance(v6, list) and _payload_each_0(v6))) and ((v7 := v.get('output_format', _ABSENT)) is _ABSENT or (isinstance(v7, str) and v7 in _payload_5)) and ((v8 := v.get('sequential_image_generation', _ABSENT)) is _ABSENT or (isinstance(v8, str) and v8 in _payload_6)) and ((v9 := v.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v9, dict) or (((v10 := v9.get('max_images', _ABSENT)) is _ABSENT or ((isinstance(v10, int) and v10 is not True and v10 is not False) and v10 in _payload_3)))) and (not isinstance(v9, dict) or v9.keys() <= _payload_7) and (isinstance(v9, dict)))) and ((v11 := v.get('watermark', _ABSENT)) is _ABSENT or ((v11 is True or v11 is False)))) and v.keys() <= _payload_8 and ((not isinstance(v, dict) or ('model' in v))) and ((not isinstance(v, dict) or ('prompt' in v))) and ((((not isinstance(v, dict) or (((v13 := v.get('size', _ABSENT)) is _ABSENT or ((not isinstance(v13, str) or search(_payload_9, v13) is not None)))))) or ((not isinstance(v, dict) or ('image_urls' in v)) and (not isinstance(v, dict) or (((v12 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v12, list) or len(v12) >= 1)))))))) and ((((not isinstance(v, dict) or (((v16 := v.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v16, dict) or _payload_each_1(v16))))))) or ((((not isinstance(v, dict) or ('sequential_image_generation' in v)) and (not isinstance(v, dict) or (((v14 := v.get('sequential_image_generation', _ABSENT)) is _ABSENT or (not ((v14 == 'disabled'))))))) or ((not isinstance(v, dict) or ('n' in v)) and (not isinstance(v, dict) or (((v15 := v.get('n', _ABSENT)) is _ABSENT or (not ((v15 == 1 and v15 is not True and v15 is not False))))))))))) and ((((not isinstance(v, dict) or (((v17 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v17, list) or len(v17) <= 14)))))) or not (not ((not isinstance(v, dict) or ('n' in v)))))) and ((((not isinstance(v, dict) or (((v19 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v19, list) or len(v19) <= 14)))))) or not ((not isinstance(v, dict) or ('n' in v)) and (not isinstance(v, dict) or (((v18 := v.get('n', _ABSENT)) is _ABSENT or ((v18 == 1 and v18 is not True and v18 is not False)))))))) and ((((not isinstance(v, dict) or (((v21 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v21, list) or len(v21) <= 13)))))) or not ((not isinstance(v, dict) or ('n' in v)) and (not isinstance(v, dict) or (((v20 := v.get('n', _ABSENT)) is _ABSENT or ((v20 == 2 and v20 is not True and v20 is not False)))))))) and ((((not isinstance(v, dict) or (((v23 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v23, list) or len(v23) <= 12)))))) or not ((not isinstance(v, dict) or ('n' in v)) and (not isinstance(v, dict) or (((v22 := v.get('n', _ABSENT)) is _ABSENT or ((v22 == 3 and v22 is not True and v22 is not False)))))))) and ((((not isinstance(v, dict) or (((v25 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v25, list) or len(v25) <= 11)))))) or not ((not isinstance(v, dict) or ('n' in v)) and (not isinstance(v, dict) or (((v24 := v.get('n', _ABSENT)) is _ABSENT or ((v24 == 4 and v24 is not True and v24 is not False)))))))) and ((((not isinstance(v, dict) or (((v27 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v27, list) or len(v27) <= 10)))))) or not ((not isinstance(v, dict) or ('n' in v)) and (not isinstance(v, dict) or (((v26 := v.get('n', _ABSENT)) is _ABSENT or ((v26 == 5 and v26 is not True and v26 is not False)))))))) and ((((not isinstance(v, dict) or (((v29 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v29, list) or len(v29) <= 9)))))) or not ((not isinstance(v, dict) or ('n' in v)) and (not isinstance(v, dict) or (((v28 := v.get('n', _ABSENT)) is _ABSENT or ((v28 == 6 and v28 is not True and v28 is not False)))))))) and ((((not isinstance(v, dict) or (((v31 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v31, list) or len(v31) <= 8)))))) or not ((not isinstance(v, dict) or ('n' in v)) and (not isinstance(v, dict) or (((v30 := v.get('n', _ABSENT)) is _ABSENT or ((v30 == 7 and v30 is not True and v30 is not False)))))))) and ((((not isinstance(v, dict) or (((v33 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v33, list) or len(v33) <= 7)))))) or not ((not isinstance(v, dict) or ('n' in v)) and (not isinstance(v, dict) or (((v32 := v.get('n', _ABSENT)) is _ABSENT or ((v32 == 8 and v32 is not True and v32 is not False)))))))) and ((((not isinstance(v, dict) or (((v35 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v35, list) or len(v35) <= 6)))))) or not ((not isinstance(v, dict) or ('n' in v)) and (not isinstance(v, dict) or (((v34 := v.get('n', _ABSENT)) is _ABSENT or ((v34 == 9 and v34 is not True and v34 is not False)))))))) and ((((not isinstance(v, dict) or (((v37 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v37, list) or len(v37) <= 5)))))) or not ((not isinstance(v, dict) or ('n' in v)) and (not isinstance(v, dict) or (((v36 := v.get('n', _ABSENT)) is _ABSENT or ((v36 == 10 and v36 is not True and v36 is not False)))))))) and ((((not isinstance(v, dict) or (((v39 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v39, list) or len(v39) <= 4)))))) or not ((not isinstance(v, dict) or ('n' in v)) and (not isinstance(v, dict) or (((v38 := v.get('n', _ABSENT)) is _ABSENT or ((v38 == 11 and v38 is not True and v38 is not False)))))))) and ((((not isinstance(v, dict) or (((v41 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v41, list) or len(v41) <= 3)))))) or not ((not isinstance(v, dict) or ('n' in v)) and (not isinstance(v, dict) or (((v40 := v.get('n', _ABSENT)) is _ABSENT or ((v40 == 12 and v40 is not True and v40 is not False)))))))) and ((((not isinstance(v, dict) or (((v43 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v43, list) or len(v43) <= 2)))))) or not ((not isinstance(v, dict) or ('n' in v)) and (not isinstance(v, dict) or (((v42 := v.get('n', _ABSENT)) is _ABSENT or ((v42 == 13 and v42 is not True and v42 is not False)))))))) and ((((not isinstance(v, dict) or (((v45 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v45, list) or len(v45) <= 1)))))) or not ((not isinstance(v, dict) or ('n' in v)) and (not isinstance(v, dict) or (((v44 := v.get('n', _ABSENT)) is _ABSENT or ((v44 == 14 and v44 is not True and v44 is not False)))))))) and ((((not isinstance(v, dict) or (((v47 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v47, list) or len(v47) <= 0)))))) or not ((not isinstance(v, dict) or ('n' in v)) and (not isinstance(v, dict) or (((v46 := v.get('n', _ABSENT)) is _ABSENT or ((v46 == 15 and v46 is not True and v46 is not False)))))))) and ((((not isinstance(v, dict) or (((v50 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v50, list) or len(v50) <= 14)))))) or not ((not isinstance(v, dict) or ('sequential_image_generation_options' in v)) and (not isinstance(v, dict) or (((v48 := v.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v48, dict) or ('max_images' in v48)) and (not isinstance(v48, dict) or (((v49 := v48.get('max_images', _ABSENT)) is _ABSENT or ((v49 == 1 and v49 is not True and v49 is not False)))))))))))) and ((((not isinstance(v, dict) or (((v53 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v53, list) or len(v53) <= 13)))))) or not ((not isinstance(v, dict) or ('sequential_image_generation_options' in v)) and (not isinstance(v, dict) or (((v51 := v.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v51, dict) or ('max_images' in v51)) and (not isinstance(v51, dict) or (((v52 := v51.get('max_images', _ABSENT)) is _ABSENT or ((v52 == 2 and v52 is not True and v52 is not False)))))))))))) and ((((not isinstance(v, dict) or (((v56 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v56, list) or len(v56) <= 12)))))) or not ((not isinstance(v, dict) or ('sequential_image_generation_options' in v)) and (not isinstance(v, dict) or (((v54 := v.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v54, dict) or ('max_images' in v54)) and (not isinstance(v54, dict) or (((v55 := v54.get('max_images', _ABSENT)) is _ABSENT or ((v55 == 3 and v55 is not True and v55 is not False)))))))))))) and ((((not isinstance(v, dict) or (((v59 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v59, list) or len(v59) <= 11)))))) or not ((not isinstance(v, dict) or ('sequential_image_generation_options' in v)) and (not isinstance(v, dict) or (((v57 := v.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v57, dict) or ('max_images' in v57)) and (not isinstance(v57, dict) or (((v58 := v57.get('max_images', _ABSENT)) is _ABSENT or ((v58 == 4 and v58 is not True and v58 is not False)))))))))))) and ((((not isinstance(v, dict) or (((v62 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v62, list) or len(v62) <= 10)))))) or not ((not isinstance(v, dict) or ('sequential_image_generation_options' in v)) and (not isinstance(v, dict) or (((v60 := v.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v60, dict) or ('max_images' in v60)) and (not isinstance(v60, dict) or (((v61 := v60.get('max_images', _ABSENT)) is _ABSENT or ((v61 == 5 and v61 is not True and v61 is not False)))))))))))) and ((((not isinstance(v, dict) or (((v65 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v65, list) or len(v65) <= 9)))))) or not ((not isinstance(v, dict) or ('sequential_image_generation_options' in v)) and (not isinstance(v, dict) or (((v63 := v.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v63, dict) or ('max_images' in v63)) and (not isinstance(v63, dict) or (((v64 := v63.get('max_images', _ABSENT)) is _ABSENT or ((v64 == 6 and v64 is not True and v64 is not False)))))))))))) and ((((not isinstance(v, dict) or (((v68 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v68, list) or len(v68) <= 8)))))) or not ((not isinstance(v, dict) or ('sequential_image_generation_options' in v)) and (not isinstance(v, dict) or (((v66 := v.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v66, dict) or ('max_images' in v66)) and (not isinstance(v66, dict) or (((v67 := v66.get('max_images', _ABSENT)) is _ABSENT or ((v67 == 7 and v67 is not True and v67 is not False)))))))))))) and ((((not isinstance(v, dict) or (((v71 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v71, list) or len(v71) <= 7)))))) or not ((not isinstance(v, dict) or ('sequential_image_generation_options' in v)) and (not isinstance(v, dict) or (((v69 := v.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v69, dict) or ('max_images' in v69)) and (not isinstance(v69, dict) or (((v70 := v69.get('max_images', _ABSENT)) is _ABSENT or ((v70 == 8 and v70 is not True and v70 is not False)))))))))))) and ((((not isinstance(v, dict) or (((v74 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v74, list) or len(v74) <= 6)))))) or not ((not isinstance(v, dict) or ('sequential_image_generation_options' in v)) and (not isinstance(v, dict) or (((v72 := v.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v72, dict) or ('max_images' in v72)) and (not isinstance(v72, dict) or (((v73 := v72.get('max_images', _ABSENT)) is _ABSENT or ((v73 == 9 and v73 is not True and v73 is not False)))))))))))) and ((((not isinstance(v, dict) or (((v77 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v77, list) or len(v77) <= 5)))))) or not ((not isinstance(v, dict) or ('sequential_image_generation_options' in v)) and (not isinstance(v, dict) or (((v75 := v.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v75, dict) or ('max_images' in v75)) and (not isinstance(v75, dict) or (((v76 := v75.get('max_images', _ABSENT)) is _ABSENT or ((v76 == 10 and v76 is not True and v76 is not False)))))))))))) and ((((not isinstance(v, dict) or (((v80 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v80, list) or len(v80) <= 4)))))) or not ((not isinstance(v, dict) or ('sequential_image_generation_options' in v)) and (not isinstance(v, dict) or (((v78 := v.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v78, dict) or ('max_images' in v78)) and (not isinstance(v78, dict) or (((v79 := v78.get('max_images', _ABSENT)) is _ABSENT or ((v79 == 11 and v79 is not True and v79 is not False)))))))))))) and ((((not isinstance(v, dict) or (((v83 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v83, list) or len(v83) <= 3)))))) or not ((not isinstance(v, dict) or ('sequential_image_generation_options' in v)) and (not isinstance(v, dict) or (((v81 := v.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v81, dict) or ('max_images' in v81)) and (not isinstance(v81, dict) or (((v82 := v81.get('max_images', _ABSENT)) is _ABSENT or ((v82 == 12 and v82 is not True and v82 is not False)))))))))))) and ((((not isinstance(v, dict) or (((v86 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v86, list) or len(v86) <= 2)))))) or not ((not isinstance(v, dict) or ('sequential_image_generation_options' in v)) and (not isinstance(v, dict) or (((v84 := v.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v84, dict) or ('max_images' in v84)) and (not isinstance(v84, dict) or (((v85 := v84.get('max_images', _ABSENT)) is _ABSENT or ((v85 == 13 and v85 is not True and v85 is not False)))))))))))) and ((((not isinstance(v, dict) or (((v89 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v89, list) or len(v89) <= 1)))))) or not ((not isinstance(v, dict) or ('sequential_image_generation_options' in v)) and (not isinstance(v, dict) or (((v87 := v.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v87, dict) or ('max_images' in v87)) and (not isinstance(v87, dict) or (((v88 := v87.get('max_images', _ABSENT)) is _ABSENT or ((v88 == 14 and v88 is not True and v88 is not False)))))))))))) and ((((not isinstance(v, dict) or (((v92 := v.get('image_urls', _ABSENT)) is _ABSENT or ((not isinstance(v92, list) or len(v92) <= 0)))))) or not ((not isinstance(v, dict) or ('sequential_image_generation_options' in v)) and (not isinstance(v, dict) or (((v90 := v.get('sequential_image_generation_options', _ABSENT)) is _ABSENT or ((not isinstance(v90, dict) or ('max_images' in v90)) and (not isinstance(v90, dict) or (((v91 := v90.get('max_images', _ABSENT)) is _ABSENT or ((v91 == 15 and v91 is not True and v91 is not False))))))))))))))

def _payload_each_0(v: Any) -> bool:
    for x in v:
        if not ((isinstance(x, str) and search(_payload_4, x) is not None)):
            return False
    return True

def _payload_each_1(v: Any) -> bool:
    for x in v:
        if not (((not isinstance(x, str) or search(_payload_10, x) is not None))):
            return False
    return True

_policy_0: Any = frozenset([1])
_policy_1: Any = '^[1-9]K$(?!\\n)'
_policy_2: Any = '[^\\s*]'
_policy_3: Any = frozenset(['reason', 'word'])
_policy_4: Any = '^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$(?!\\n)'
_policy_5: Any = frozenset(['jobs', 'reason', 'until', 'word'])
_policy_6: Any = '^(\\*\\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$(?!\\n)'
_policy_7: Any = frozenset(['budget_usd', 'forbidden_words', 'max_requests', 'models', 'reference_hosts', 'resolutions', 'version', 'waivers', 'watermark'])

def policy(v: Any) -> bool:
    return bool(((not isinstance(v, dict) or ('version' in v)) and (not isinstance(v, dict) or (((v1 := v.get('version', _ABSENT)) is _ABSENT or ((isinstance(v1, int) and v1 is not True and v1 is not False) and v1 in _policy_0)) and ((v2 := v.get('budget_usd', _ABSENT)) is _ABSENT or ((isinstance(v2, (int, float)) and v2 is not True and v2 is not False) and not v2 < 0 and not v2 > 1000000000)) and ((v3 := v.get('max_requests', _ABSENT)) is _ABSENT or ((isinstance(v3, int) and v3 is not True and v3 is not False) and not v3 < 1)) and ((v4 := v.get('models', _ABSENT)) is _ABSENT or ((not isinstance(v4, list) or _policy_each_0(v4)) and (isinstance(v4, list)) and ((not isinstance(v4, list) or len(v4) >= 1)))) and ((v5 := v.get('resolutions', _ABSENT)) is _ABSENT or ((not isinstance(v5, list) or _policy_each_1(v5)) and (isinstance(v5, list)) and ((not isinstance(v5, list) or len(v5) >= 1)))) and ((v6 := v.get('watermark', _ABSENT)) is _ABSENT or ((v6 is True))) and ((v7 := v.get('forbidden_words', _ABSENT)) is _ABSENT or ((not isinstance(v7, list) or _policy_each_2(v7)) and (isinstance(v7, list)))) and ((v10 := v.get('waivers', _ABSENT)) is _ABSENT or ((not isinstance(v10, list) or _policy_each_4(v10)) and (isinstance(v10, list)))) and ((v15 := v.get('reference_hosts', _ABSENT)) is _ABSENT or ((not isinstance(v15, list) or _policy_each_5(v15)) and (isinstance(v15, list)))))) and (not isinstance(v, dict) or v.keys() <= _policy_7) and (isinstance(v, dict))))

def _policy_each_0(v: Any) -> bool:
    for x in v:
        if not ((isinstance(x, str) and (x and not x.isspace()))):
            return False
    return True

def _policy_each_1(v: Any) -> bool:
    for x in v:
        if not ((isinstance(x, str) and search(_policy_1, x) is not None)):
            return False
    return True

def _policy_each_2(v: Any) -> bool:
    for x in v:
        if not (((not isinstance(x, dict) or ('word' in x)) and (not isinstance(x, dict) or (((v8 := x.get('word', _ABSENT)) is _ABSENT or (isinstance(v8, str) and search(_policy_2, v8) is not None)) and ((v9 := x.get('reason', _ABSENT)) is _ABSENT or (isinstance(v9, str))))) and (not isinstance(x, dict) or x.keys() <= _policy_3) and ((isinstance(x, str) or isinstance(x, dict))) and ((not isinstance(x, str) or search(_policy_2, x) is not None)))):
            return False
    return True

def _policy_each_3(v: Any) -> bool:
    for x in v:
        if not ((isinstance(x, str) and (x and not x.isspace()))):
            return False
    return True

def _policy_each_4(v: Any) -> bool:
    for x in v:
        if not (((not isinstance(x, dict) or ('word' in x and 'jobs' in x and 'reason' in x)) and (not isinstance(x, dict) or (((v11 := x.get('word', _ABSENT)) is _ABSENT or (isinstance(v11, str) and (v11 and not v11.isspace()))) and ((v12 := x.get('jobs', _ABSENT)) is _ABSENT or ((not isinstance(v12, list) or _policy_each_3(v12)) and (isinstance(v12, list)) and ((not isinstance(v12, list) or len(v12) >= 1)))) and ((v13 := x.get('reason', _ABSENT)) is _ABSENT or (isinstance(v13, str) and (v13 and not v13.isspace()))) and ((v14 := x.get('until', _ABSENT)) is _ABSENT or (isinstance(v14, str) and search(_policy_4, v14) is not None)))) and (not isinstance(x, dict) or x.keys() <= _policy_5) and (isinstance(x, dict)))):
            return False
    return True

def _policy_each_5(v: Any) -> bool:
    for x in v:
        if not ((isinstance(x, str) and search(_policy_6, x) is not None)):
            return False
    return True
