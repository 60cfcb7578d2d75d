// What page_checks.py asks of a page, as an object of functions: each takes one argument and answers with JSON at once.
(() => {
  const SHAPES = 'path,line,rect,circle,ellipse,polygon,polyline,text,use';

  // Not checkVisibility: in Chromium 156 it calls what is inside of an SVG visible under "display: none", too.
  const isThere = one => one.getClientRects().length > 0 && getComputedStyle(one).visibility === 'visible';
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const lettersOf = text => [...text.childNodes].filter(one => one.localName !== 'title').map(one => one.textContent).join('');
  const start = one => one.outerHTML.slice(0, 200);

  // The colour that lies under an element: of a page without a style, white.
  const groundOf = element => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (!/^rgba\(.*, 0\)$|^transparent$/.test(color)) return color;
    }
    return 'rgb(255, 255, 255)';
  };

  // What the source says of a paint, on the element or around it.
  const sourceOf = (element, name) => {
    for (let at = element; at && at.closest('svg'); at = at.parentElement)
      if (at.hasAttribute(name)) return at.getAttribute(name);
    return '';
  };

  const opacityOf = element => {
    let opacity = 1;
    for (let at = element; at && at.closest('svg'); at = at.parentElement) opacity *= getComputedStyle(at).opacity;
    return opacity;
  };

  // Whether a shape has something to fill, or a text a letter; a line has no inside.
  const paints = (one, name, style) => {
    if (one.localName === 'text') return lettersOf(one).trim() && (name === 'fill' || parseFloat(style.strokeWidth) > 0);
    const box = one.getBBox();
    return name === 'fill' ? box.width > 0 && box.height > 0
      : parseFloat(style.strokeWidth) > 0 && (box.width > 0 || box.height > 0);
  };

  return {
    // Of each shape and text that an SVG paints: its fill and its stroke, with the opacity of all that is around it.
    painted: () => all('svg').flatMap(svg => all(SHAPES, svg).flatMap(one => {
      if (one.closest('defs,clipPath,mask,pattern') || !isThere(one)) return [];
      const style = getComputedStyle(one);
      return ['fill', 'stroke'].flatMap(name => {
        const share = opacityOf(one) * parseFloat(style[name + 'Opacity']);
        if (style[name] === 'none' || !share || !paints(one, name, style)) return [];
        return [{what: one.localName, name, color: style[name], share, ground: groundOf(svg),
          source: sourceOf(one, name), html: start(one)}];
      });
    })),

    // Of each text in an SVG: how high a font it has on the screen, and whether all of it lies within the SVG.
    texts: () => all('svg text').filter(one => lettersOf(one).trim() && isThere(one)).map(one => {
      const matrix = one.getScreenCTM(), box = one.getBoundingClientRect();
      const around = one.ownerSVGElement.getBoundingClientRect();
      const scale = Math.sqrt(Math.abs(matrix.a * matrix.d - matrix.b * matrix.c));
      return {text: lettersOf(one), px: parseFloat(getComputedStyle(one).fontSize) * scale,
        inside: box.left >= around.left - 1 && box.right <= around.right + 1
          && box.top >= around.top - 1 && box.bottom <= around.bottom + 1};
    }),

    // Pairs of texts in one SVG that cover each other, by more than what their lines have above and below the letters.
    covered: () => all('svg').flatMap(svg => {
      const texts = all('text', svg).filter(one => lettersOf(one).trim() && isThere(one))
        .map(one => ({said: lettersOf(one), box: one.getBoundingClientRect()}));
      return texts.flatMap(({said, box}, place) => texts.slice(place + 1).filter(other =>
        Math.min(box.right, other.box.right) - Math.max(box.left, other.box.left) > 1
        && Math.min(box.bottom, other.box.bottom) - Math.max(box.top, other.box.top) > 4)
        .map(other => `${said} / ${other.said}`));
    }),

    // By how much the page can be scrolled sideways, and what of it sticks out.
    sideways: () => {
      const root = document.scrollingElement, beyond = root.scrollWidth - root.clientWidth;
      const out = all('body *').filter(one => one.getBoundingClientRect().right > root.clientWidth + 0.5);
      return {beyond, names: beyond > 0 ? out.slice(0, 10).map(start) : []};
    },

    // Where the focus is: its place among all elements, and what a person sees of it.
    focused: () => {
      const one = document.activeElement;
      if (!one || one === document.body) return null;
      const style = getComputedStyle(one), box = one.getBoundingClientRect();
      return {place: all('*').indexOf(one), what: one.localName,
        ring: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1,
        shown: box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0
          && box.left < innerWidth};
    },

    // Of what a selector finds: how many there are, and the HTML of those that nobody can see.
    unseen: selector => {
      const unseen = all(selector).filter(one => !isThere(one) || one.closest('details:not([open]) > :not(summary)'));
      return {count: all(selector).length, unseen: unseen.map(start)};
    },

    // Of each section's plots by backend ("cell-0"): is what is drawn of it to be seen: all, some or nothing?
    backends: () => all('.plots').map(plots => {
      const seen = {};
      for (const one of all(SHAPES, plots)) {
        const found = one.closest('[class*=cell-]')?.getAttribute('class').match(/cell-\d+/);
        if (found) (seen[found[0]] ??= new Set()).add(isThere(one));
      }
      const said = set => set.size > 1 ? 'some' : set.has(true) ? 'all' : 'nothing';
      return Object.fromEntries(Object.entries(seen).map(([name, set]) => [name, said(set)]));
    }),

    // Every text of the page as it stands there, but for what only a screen reader and the keyboard meet.
    words: () => {
      const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), texts = [];
      for (let node; (node = walker.nextNode()); )
        if (node.data.trim() && !node.parentElement.closest('caption,.skip,title')) texts.push(node.data.trim());
      return texts;
    },

    // Put a mark into the first and the last line of every plot, T0E and B0E, T1E and B1E, …; how many plots are there?
    mark: () => all('figure svg').map((svg, place) => {
      const view = svg.viewBox.baseVal;
      const box = view && view.height ? view : {x: 0, y: 0, height: svg.clientHeight};
      for (const [name, y] of [['T', box.y + 4], ['B', box.y + box.height - 1]]) {
        const mark = document.createElementNS('http://www.w3.org/2000/svg', 'text');
        const paint = {x: box.x, y, 'font-size': 3, fill: '#000'};
        for (const [key, value] of Object.entries(paint)) mark.setAttribute(key, value);
        mark.textContent = name + place + 'E';
        svg.append(mark);
      }
    }).length,

    // What could run, fetch or lead somewhere: none of it is in a report, whoever wrote its texts.
    active: () => all('*').filter(one =>
      /^(script|i?frame|object|embed|img|image|link|base|form|video|audio|foreignobject|use|animate|set)$/i
        .test(one.localName)
      || [...one.attributes].some(({name, value}) => /^on|^style$|^srcset$/i.test(name)
        || (/(^|:)(href|src|action|formaction|data)$/i.test(name) && !value.startsWith('#')))).map(start),

    // Open or close everything that can be opened.
    details: open => all('details').forEach(one => { one.open = open; }),

    count: selector => all(selector).length,
  };
})()
